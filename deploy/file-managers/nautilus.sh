#!/bin/sh
# "Cartoonize" in the menu Scripts of Nautilus (GNOME Files), for what is selected:
#   install -D deploy/file-managers/nautilus.sh ~/.local/share/nautilus/scripts/Cartoonize
# NEMO and Caja run the same file from ~/.local/share/nemo/scripts and ~/.config/caja/scripts.
# TOONBOX names another command, such as one in an environment of its own.

selected=${NAUTILUS_SCRIPT_SELECTED_FILE_PATHS:-${NEMO_SCRIPT_SELECTED_FILE_PATHS:-$CAJA_SCRIPT_SELECTED_FILE_PATHS}}

tell() {
  if command -v notify-send > /dev/null; then
    notify-send --app-name=toonbox Cartoonize "$1"
  else
    printf '%s\n' "$1" >&2
  fi
}

set -f
IFS='
'
# One path a line; `--` because a name may begin with a dash.
# shellcheck disable=SC2086
set -- $selected
unset IFS
if [ $# -eq 0 ]; then
  tell 'Select pictures or videos on this computer first.'
  exit 2
fi
if errors=$("${TOONBOX:-toonbox}" cartoonize -- "$@" 2>&1 > /dev/null); then
  tell "Done: the cartoons are beside the originals."
else
  code=$?
  tell "$errors"
  exit "$code"
fi
