#!/bin/zsh
# The body of a Quick Action for Finder. In Automator choose New, Quick Action, and set
# "Workflow receives current [image files] in [Finder]"; add "Run Shell Script" with Shell /bin/zsh
# and Pass input "as arguments", paste this, and save it as Cartoonize. (Movies: a second one that
# receives movie files.) It then stands in the menu of the right mouse button.

# Finder does not know the PATH of your terminal.
export PATH="$HOME/.local/bin:/opt/homebrew/bin:/usr/local/bin:$PATH"

if errors=$("${TOONBOX:-toonbox}" cartoonize -- "$@" 2>&1 > /dev/null); then
  text="Done: the cartoons are beside the originals."
else
  text="$errors"
fi
osascript -e 'on run argv' -e 'display notification (item 1 of argv) with title "Cartoonize"' -e 'end run' -- "$text"
