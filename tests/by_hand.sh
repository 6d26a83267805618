#!/bin/sh
# The studio as a hand uses it: a real window under Xvfb, driven by xdotool, with screenshots.
#   tests/by_hand.sh PROGRAM FOLDER
# Opens a picture, marks a region, draws a path, makes video, drags while it plays, pauses, branches, undoes, exports an MP4; gives a preset's
# camera another key, drags it in space and undoes that; lets a clip move a picture and places it by hand; and looks whether everything
# is there. Needs Xvfb, xdotool, ImageMagick and ffprobe. Screenshots land in FOLDER. CLIP names another clip than the repository's own.
set -eu
program=$1 folder=$2
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$folder"
home=$(mktemp -d)
export KINEBRUSH_HOME="$home" DISPLAY=":${KINEBRUSH_TEST_DISPLAY:-47}"
Xvfb "$DISPLAY" -screen 0 1280x800x24 >/dev/null 2>&1 &
server=$!
studio=''
trap 'kill $studio $server 2>/dev/null || true; rm -rf "$home"' EXIT
sleep 1

shot() { import -window root "$folder/$1.png"; }
key() { xdotool key --delay 60 "$@"; }
# From one place to another, as quick as a hand.
draw() {
    xdotool mousemove "$1" "$2"; sleep 0.15; xdotool mousedown 1
    i=1
    while [ $i -le 24 ]; do
        xdotool mousemove $(($1 + ($3 - $1) * i / 24)) $(($2 + ($4 - $2) * i / 24)); sleep 0.04
        i=$((i + 1))
    done
    xdotool mouseup 1; sleep 0.4
}
takes() { ls "$home"/data/takes/*.kbtake 2>/dev/null | wc -l; }
two_takes() { [ "$(takes)" -ge 2 ]; }
# Until a condition holds: a busy machine takes its time.
wait_for() {
    what=$1 tries=${KINEBRUSH_TEST_TRIES:-120}
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "waited in vain for $what"
        sleep 0.5
    done
}
fail() { echo "by_hand: $*" >&2; shot failed; exit 1; }
click() { xdotool mousemove "$1" "$2"; sleep 0.2; xdotool click 1; sleep 0.4; }
# Until nothing changes on the screen any more.
still() {
    import -window root "$home/before.png"; sleep 0.7
    import -window root "$home/after.png"
    [ "$(compare -metric AE "$home/before.png" "$home/after.png" null: 2>&1 | cut -d' ' -f1)" = 0 ]
}
settle() { wait_for "the window to be still" still; }
open_studio() {
    "$program" studio "$1" 2>>"$folder/log.txt" &
    studio=$!
    xdotool search --sync --onlyvisible --name Kinebrush >/dev/null
    xdotool windowfocus "$(xdotool search --name Kinebrush | head -n 1)"
    sleep 3
}
close_studio() { kill $studio; wait $studio 2>/dev/null || true; }
# What the newest session has so often.
kept() { cat "$(ls -t "$home"/data/sessions/session-*.ron | head -n 1)" | grep -o "$1" | wc -l; }
keeps() { [ "$(kept "$1")" -eq "$2" ]; }

open_studio "$root/assets/pictures/rocket.jpg"
shot 1-opened

# Along the rocket with the brush of the Region tool, then its way with the Path tool.
key r; sleep 0.3
shot 2-region
draw 661 240 661 462
shot 3-marked
key p; sleep 0.3
draw 661 330 704 200
shot 4-path

# Video, a live drag, pause, branch, and one step back.
key Return; sleep 5
shot 5-running
key d; sleep 0.2
draw 452 330 480 318
sleep 3
shot 6-dragged
key space; sleep 1.5
key b
wait_for "a second take" two_takes
sleep 0.5
shot 7-branched
key ctrl+z; sleep 0.5
shot 8-undone
key ctrl+shift+z; sleep 0.3

# Export: the dialog's path is typed, then the button.
key ctrl+e; sleep 1
shot 9-export
kill -0 $studio || fail "the studio is not there any more"
[ -n "$(ls "$home"/data/sessions/session-*.ron 2>/dev/null)" ] || fail "nothing was autosaved"
grep -q 'Drag\|strokes' "$home"/data/sessions/session-*.ron || fail "the motion is not in the session"
close_studio

# The camera of a preset: its panel, a scrub, another key, a drag of the camera in space, and back.
open_studio "$root/presets/orbit.ron"
key c; settle
draw 300 617 433 617
settle; shot 10-camera
click 1000 234
wait_for "a fifth key" keeps 'curve:' 5
draw 1122 205 1122 196
settle; shot 11-camera-moved
key ctrl+z; sleep 0.5; key ctrl+z
wait_for "four keys again" keeps 'curve:' 4
settle; shot 12-camera-undone
kill -0 $studio || fail "the studio is not there any more"
close_studio

# A clip: opened by its path, tracked, laid over the picture, placed by hand, scrubbed.
clip="$home/$(basename "${CLIP:-$root/presets/clips/turning_head.mp4}")"
cp "${CLIP:-$root/presets/clips/turning_head.mp4}" "$clip"
open_studio "$root/assets/pictures/cat.png"
key t; settle
click 248 61; settle
xdotool type --delay 20 "$clip"; key Return; sleep 1; settle
shot 13-clip
click 33 354
tracked() { [ -s "$clip.tracks.npz" ]; }
KINEBRUSH_TEST_TRIES=900 wait_for "tracks" tracked
sleep 1; settle
click 85 373
wait_for "the clip to move the picture" keeps 'clip_fps:' 1
settle
click 56 372; settle
draw 760 300 790 318
wait_for "the clip to be placed" keeps 'offset:(0.0,0.0)' 0
draw 300 617 560 617
settle; shot 14-clip-placed
kill -0 $studio || fail "the studio is not there any more"
echo "by_hand: all there; $(takes) takes, screenshots in $folder"
