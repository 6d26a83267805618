#!/bin/sh
# A real window killed at random moments while a hand draws: `kill -9`, twenty times.
#   tests/kill_by_hand.sh PROGRAM [TIMES]
# Each time drags are made one after the other and a video is rendered beside; then both processes die. Every drag that was made a
# second before must be in the session that is left, the session must be one that the next start offers, and every video that is there
# must open. Needs Xvfb, xdotool and ffprobe. A machine that is busy draws late: LATE (1) is how many seconds it may take to see a hand.
set -eu
program=$1 times=${2:-20}
root=$(cd "$(dirname "$0")/.." && pwd)
home=$(mktemp -d)
export KINEBRUSH_HOME="$home" DISPLAY=":${KINEBRUSH_TEST_DISPLAY:-48}"
Xvfb "$DISPLAY" -screen 0 1280x800x24 >/dev/null 2>&1 &
server=$!
studio='' render=''
trap 'kill -9 $studio $render 2>/dev/null || true; kill $server 2>/dev/null || true; rm -rf "$home"' EXIT
sleep 1
fail() { echo "kill_by_hand: $*" >&2; exit 1; }
now() { date +%s%3N; }
# A number below $1.
random() { od -An -N2 -tu2 /dev/urandom | awk -v below="$1" '{print $1 % below}'; }

round=0 lost=0 videos=0
while [ $round -lt "$times" ]; do
    round=$((round + 1))
    rm -rf "$home/data/sessions"
    "$program" studio "$root/assets/pictures/rocket.jpg" >/dev/null 2>&1 &
    studio=$!
    "$program" render "$root/presets/rocket.ron" -o "$home/video-$round.mp4" >/dev/null 2>&1 &
    render=$!
    xdotool search --sync --onlyvisible --name Kinebrush >/dev/null
    xdotool windowfocus "$(xdotool search --name Kinebrush | head -n 1)"
    sleep 2
    # Drags, the tool a fresh window has in hand, until the moment has come; when each was finished.
    moment=$(($(now) + 2000 + $(random 9000)))
    drags='' i=0
    while [ "$(now)" -lt $moment ] && [ $i -lt 24 ]; do
        x=$((400 + i % 6 * 90)) y=$((140 + i / 6 * 90))
        xdotool mousemove $x $y mousedown 1; sleep 0.1
        xdotool mousemove $((x + 8)) $((y + 6)); sleep 0.1
        xdotool mouseup 1; sleep 0.25
        drags="$drags $(now)"
        i=$((i + 1))
    done
    died=$(now)
    kill -9 $studio $render 2>/dev/null || true
    wait $studio $render 2>/dev/null || true
    sessions=$(ls "$home"/data/sessions/session-*.ron 2>/dev/null || true)
    due=0
    for at in $drags; do [ $((died - at)) -lt $((1000 * (1 + ${LATE:-1}))) ] || due=$((due + 1)); done
    kept=0
    # shellcheck disable=SC2086
    [ -z "$sessions" ] || kept=$(cat $sessions | grep -o 'path:\[' | wc -l)
    [ "$kept" -ge "$due" ] || fail "round $round: $kept drags are left of $i, $due were older than a second"
    lost=$((lost + i - kept))
    for video in "$home"/*.mp4; do
        [ ! -e "$video" ] || { ffprobe -v error "$video" >/dev/null || fail "round $round: $video does not open"; videos=$((videos + 1)); }
    done
    rm -f "$home"/*.mp4
    echo "round $round: $i drags drawn, $kept kept"
done
echo "kill_by_hand: $times kills, $lost drags lost, none older than a second; $videos finished videos, all open"
