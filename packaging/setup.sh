#!/bin/sh
# Makes sure that Kinebrush can be built and run: packaging/setup.sh build|test
# Checks Rust, then the system's packages; installs what is missing (apt, dnf, pacman, brew) or names it. Quick and silent when
# all is there. `test` also wants a software Vulkan driver, on which windows are tested without a display, and ffmpeg, with which
# more is checked; ffmpeg is not needed.
set -eu

purpose=${1:-build}
root=$(cd "$(dirname "$0")/.." && pwd)

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

# ---- Rust ----
PATH="$PATH:$HOME/.cargo/bin"
needed=$(sed -n 's/^rust-version *= *"\([0-9.]*\)".*/\1/p' "$root/Cargo.toml")
if ! have cargo || ! have rustc; then
    say "Rust $needed or newer is missing. Install it with"
    say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    say "and run this again."
    exit 1
fi
# Asked in the project's folder, where a toolchain override would count.
found=$(cd "$root" && rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
oldest=$(printf '%s\n%s\n' "$needed" "$found" | sort -t . -k1,1n -k2,2n -k3,3n | head -n 1)
if [ "$oldest" != "$needed" ]; then
    say "Rust $found is too old, $needed or newer is needed. Update it with"
    say "    rustup update stable"
    exit 1
fi

# ---- system packages ----
# A compiler without the C library's headers is as good as none.
compiles() { have "$1" && printf '#include <%s>\nint main(void) { return 0; }\n' "$3" | "$1" -x "$2" -E - >/dev/null 2>&1; }

required='' optional=''
compiles cc c stdio.h || required="$required c"
compiles c++ c++ vector || required="$required c++"
# openh264 has hand-written assembly for x86: without nasm it is built without, silently half as fast.
case $(uname -m) in
    x86_64 | amd64 | i?86) have nasm || required="$required nasm" ;;
esac
if [ "$purpose" = test ] && ! { have ffmpeg && have ffprobe; }; then
    optional="$optional ffmpeg"
fi

# ---- what a window is drawn with ----
# The studio looks these up when it starts; a Mac has all of it.
loads() { ldconfig -p 2>/dev/null | grep -q "$1"; }
# A driver whose name begins like this; `lvp` is the software one that tests draw with.
has_driver() {
    for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d; do
        for driver in "$folder/$1"*.json; do [ ! -e "$driver" ] || return 0; done
    done
    return 1
}
if [ "$(uname)" = Linux ]; then
    loads libvulkan.so.1 || required="$required vulkan"
    if [ "$purpose" = test ]; then driver=lvp; else driver=''; fi
    has_driver "$driver" || required="$required vulkan-driver"
    if [ -n "${DISPLAY:-}" ]; then
        for library in libX11.so.6 libX11-xcb.so.1 libXcursor.so.1 libXi.so.6 libxkbcommon-x11.so.0; do
            loads "$library" || { required="$required x11"; break; }
        done
    fi
fi
[ -n "$required$optional" ] || exit 0

if have apt-get; then manager=apt
elif have dnf; then manager=dnf
elif have pacman; then manager=pacman
elif have brew; then manager=brew
else manager=none
fi

# The packages in which the package manager has a tool.
packages() {
    for tool in "$@"; do
        case $manager:$tool in
            apt:vulkan) echo libvulkan1 ;;
            apt:vulkan-driver) echo mesa-vulkan-drivers ;;
            apt:x11) echo libx11-6 libx11-xcb1 libxcursor1 libxi6 libxkbcommon-x11-0 ;;
            dnf:vulkan) echo vulkan-loader ;;
            dnf:vulkan-driver) echo mesa-vulkan-drivers ;;
            dnf:x11) echo libX11 libX11-xcb libXcursor libXi libxkbcommon-x11 ;;
            pacman:vulkan) echo vulkan-icd-loader ;;
            pacman:vulkan-driver) echo vulkan-swrast ;;
            pacman:x11) echo libx11 libxcursor libxi libxkbcommon-x11 ;;
            none:vulkan) echo 'the Vulkan loader' ;;
            none:vulkan-driver) echo 'a Vulkan driver (lavapipe does)' ;;
            none:x11) echo 'the X11 client libraries' ;;
            apt:c) echo gcc libc6-dev ;;
            apt:c++) echo g++ ;;
            dnf:c) echo gcc glibc-devel ;;
            dnf:c++) echo gcc-c++ ;;
            dnf:ffmpeg) echo ffmpeg-free ;;
            pacman:c | pacman:c++) echo gcc ;;
            brew:c | brew:c++) ;; # Apple's command line tools, see below
            none:c) echo 'a C compiler with headers' ;;
            none:c++) echo 'a C++ compiler' ;;
            *) echo "$tool" ;;
        esac
    done | tr '\n' ' '
}

# sudo may ask only where somebody can answer.
if [ -t 0 ]; then sudo='sudo'; else sudo='sudo -n'; fi

# Runs a command as root: plainly, through sudo, or not at all.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo; then $sudo "$@"
    else return 1
    fi
}

install() {
    [ $# -gt 0 ] || return 0
    say "installing $*"
    case $manager in
        apt)
            [ -n "${updated:-}" ] || as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update || true
            updated=yes
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >&2
            ;;
        dnf) as_root dnf -q -y install "$@" >&2 ;;
        pacman) as_root pacman -S --noconfirm --needed "$@" >&2 ;;
        brew) brew install --quiet "$@" >&2 ;;
        none) return 1 ;;
    esac </dev/null
}

if [ -n "$optional" ]; then
    # shellcheck disable=SC2046,SC2086 # several packages, split on purpose
    if [ "$manager" = none ] || ! install $(packages $optional); then
        say "could not install$optional: the tests that need it are skipped in part."
    fi
fi

if [ -n "$required" ]; then
    case "$manager$required" in
        brew*' c'*)
            say "Apple's compilers are missing. Install them with"
            say "    xcode-select --install"
            say "and run this again."
            exit 1
            ;;
    esac
    # shellcheck disable=SC2046,SC2086
    if [ "$manager" = none ] || ! install $(packages $required); then
        # shellcheck disable=SC2086
        say "please install: $(packages $required)"
        [ "$required" = ' nasm' ] || exit 1
        say "without nasm, video is written at half the speed; after installing it: cargo clean --release -p openh264-sys2"
    fi
fi
