#!/bin/sh
# Fetches free photographs and cut-outs for training from Debian's archive: packaging/train-data.sh [DIR]
# Makes DIR/photos and DIR/cutouts (links into DIR/packages and DIR/wallpapers). What is there already is not fetched again. The
# licences are in DIR/{packages,wallpapers}/*/usr/share/doc/*/copyright.
#
# Most photographs are in Ubuntu's wallpapers of twenty years (2.6 GB). On Debian say where an archive of Ubuntu's is, the address that
# ends in /ubuntu: UBUNTU_MIRROR=http://... packaging/train-data.sh
set -eu

dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kinebrush/train-data}
sources='gnome-backgrounds mate-backgrounds plasma-workspace-wallpapers ukui-wallpapers
    lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 gcompris-qt-data wordpress-theme-twentytwentyone
    endless-sky-high-dpi tuxpaint-stamps-default'
# Of Ubuntu's archive, and the releases that hold them.
families='^(budgie-wallpapers|edubuntu-wallpapers|lubuntu-artwork|ubuntu-gnome-wallpapers|ubuntu-mate-wallpapers|ubuntu-wallpapers'
families="$families|ubuntucinnamon-wallpapers|ubuntukylin-wallpapers|ubuntustudio-wallpapers|xubuntu-community-wallpapers)(-|\$)"
releases='noble questing'

say() { printf 'train-data: %s\n' "$*" >&2; }

for tool in apt-get dpkg perl ${UBUNTU_MIRROR:+curl}; do
    command -v "$tool" >/dev/null 2>&1 && continue
    say "$tool is missing: this needs Debian or Ubuntu. Elsewhere, give \`kinebrush train\` folders of your own."
    exit 1
done

mkdir -p "$dir/packages" "$dir/wallpapers" "$dir/photos" "$dir/cutouts"
cd "$dir"
failed=''

# fetch FOLDER PACKAGE COMMAND: unpacks the package that the command leaves where it runs.
fetch() {
    folder=$1 package=$2
    shift 2
    [ ! -d "$folder/$package" ] || return 0
    say "fetching $package"
    rm -rf part
    mkdir part
    # A folder gets its name only when the package in it is whole.
    if (cd part && "$@" && dpkg -x ./*.deb files); then
        mv part/files "$folder/$package"
    else
        failed="$failed $package"
    fi
    rm -rf part
}

download() { apt-get -qq -o APT::Sandbox::User=root download "$1"; }

for package in $sources; do
    fetch packages "$package" download "$package"
done

if [ -n "${UBUNTU_MIRROR:-}" ]; then
    for release in $releases; do
        for section in main universe; do
            curl -fsS "$UBUNTU_MIRROR/dists/$release/$section/binary-amd64/Packages.gz" | gzip -dc
        done
    done | awk -v families="$families" '
        /^Package: / { name = $2 }
        /^Filename: / { if (name ~ families && !seen[name]++) print name, $2 }' > wallpapers.list
    while read -r package file; do
        fetch wallpapers "$package" curl -fsSO "$UBUNTU_MIRROR/$file"
    done < wallpapers.list
    rm wallpapers.list
else
    for package in $(apt-cache pkgnames | grep -E "$families" | sort); do
        fetch wallpapers "$package" download "$package"
    done
fi
[ -n "$(ls wallpapers)" ] || say "none of Ubuntu's wallpapers, which are most of the photographs: set UBUNTU_MIRROR (see the script)"

# GCompris keeps its photographs in resource files, one after the other, as they are.
inside=packages/gcompris-qt-data/usr/share/gcompris-qt/photos
if [ -d packages/gcompris-qt-data ] && [ ! -d "$inside" ]; then
    rm -rf part
    mkdir part
    for activity in clickgame erase explore_farm_animals explore_monuments explore_world_animals explore_world_music; do
        ACTIVITY=$activity perl -0777 -ne 'while (/RIFF(.{4})WEBP/gs) {
            my ($start, $length) = ($-[0], 8 + unpack("V", $1));
            next if $length < 20000 || $start + $length > length;
            open my $out, ">:raw", sprintf("part/%s-%02d.webp", $ENV{ACTIVITY}, $n++) or die $!;
            print $out substr($_, $start, $length);
            close $out or die $!;
        }' "packages/gcompris-qt-data/usr/share/gcompris-qt/rcc/$activity.rcc"
    done
    mv part "$inside"
fi

# Links of an earlier run; files of yours are left alone.
find photos cutouts -maxdepth 1 -type l -exec rm {} +

# Photographs: one file a motif, the largest. Several sizes, crops or colours of one picture would end up on both sides
# of the split into training and held-out.
find packages -type f \( -size +59999c -o -path "$inside/*" \) \( -name '*.jpg' -o -name '*.jpeg' -o -name '*.png' -o -name '*.webp' \) \
    ! -path '*/tuxpaint/*' ! -path '*/html/*' ! -path '*/endless-sky-high-dpi/*' ! -name 'screenshot*' -printf '%s\t%p\n' | sort -t "$(printf '\t')" -k1,1nr -k2 |
    awk -F '\t' '{
        motif = $2
        if (!sub("/contents/images.*", "", motif)) {
            sub("\\.[a-z]*$", "", motif)
            sub("_[0-9]+x[0-9]+$", "", motif)
            if (motif ~ "/gnome/") sub("-[dl]$", "", motif)
            if (motif ~ "/mate/") sub("-(Dark|Light|Cold|Warm|Radioactive)", "", motif)
        }
        if (seen[motif]++) next
        name = motif
        sub("^packages/", "", name)
        sub("/usr/share/(backgrounds|wallpapers)/", "--", name)
        gsub("/", "-", name)
        match($2, "\\.[a-z]*$")
        print $2 "\t" name substr($2, RSTART)
    }' |
    while IFS="$(printf '\t')" read -r file name; do ln -s "../$file" "photos/$name"; done

# Landscapes, and the wallpapers that are photographs (a PNG is a drawing). `kinebrush train` finds the copies among them.
{
    find packages -path '*/endless-sky-high-dpi/images/land/*.jpg'
    find wallpapers -type f -size +59999c \( -name '*.jpg' -o -name '*.jpeg' -o -name '*.webp' \) \
        ! -path '*/doc/*' ! -path '*/icons/*' ! -path '*/plymouth/*' ! -path '*/themes/*' ! -path '*/pixmaps/*' ! -name 'screenshot*'
} | sort | while read -r file; do
    name=${file#*/}
    ln -sf "../$file" "photos/$(printf '%s' "${name%%/*}-${name##*/}")"
done

# Cut-outs: the stamps, without their mirror images.
stamps=packages/tuxpaint-stamps-default/usr/share/tuxpaint/stamps
if [ -d "$stamps" ]; then
    find "$stamps" -type f -name '*.png' ! -name '*_mirror*' ! -name '*_flip*' | sort | while read -r file; do
        name=$(printf '%s' "${file#"$stamps"/}" | tr '/' '-')
        ln -s "../$file" "cutouts/$name"
    done
fi

count() { find "$1" -maxdepth 1 -type l | wc -l | tr -d ' '; }
say "$(count photos) photographs in $dir/photos, $(count cutouts) cut-outs in $dir/cutouts"
if [ -n "$failed" ]; then
    say "could not fetch$failed; try \`apt-get update\` and run this again"
    exit 1
fi
