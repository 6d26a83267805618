#!/bin/sh
# Says where a file is and opens it where there is a display: packaging/show.sh FILE
set -eu
echo "The video is in $1"
if [ "$(uname)" = Darwin ]; then
    open "$1" || true
elif [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null 2>&1; then
    xdg-open "$1" >/dev/null 2>&1 || true
fi
