#!/bin/sh
# Opens the studio, or renders the demo scene where there is no display: packaging/run.sh PROGRAM
set -eu
if [ "$(uname)" = Darwin ] || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    exec "$1"
fi
echo "There is no display: rendering the demo scene instead of opening the studio."
mkdir -p out
"$1" render presets/rocket.ron -o out/demo.mp4
echo "The video is in out/demo.mp4"
