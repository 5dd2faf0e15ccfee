"""Run `toonbox` and send it signals at chosen moments: `stopped_at.py COUNTED MOMENTS ARGUMENTS`.

Moments are counted in events: calls and returns of toonbox's own functions, and of what they call,
in all threads. Thus they do not depend on how fast a machine is. MOMENTS is such as `SIGINT:250` or
`SIGINT:250,SIGINT:300`, or `-` for none; how many events there were is written to COUNTED.
"""

import itertools
import os
import signal
import sys
import threading
from pathlib import Path

import toonbox
from toonbox.video import pipeline as segments

SEGMENT = 4  # frames, so that a short video has many
OURS = str(Path(toonbox.__file__).parent)


def main() -> None:
    counted, told, *arguments = sys.argv[1:]
    pairs = [moment.split(":") for moment in told.split(",") if moment != "-"]
    moments = {int(at): signal.Signals[name] for name, at in pairs}
    segments.KEPT_LENGTH = SEGMENT
    numbers = itertools.count(1)
    reached = 0

    def event(frame, kind, argument):
        nonlocal reached
        if frame.f_code.co_filename.startswith(OURS):
            reached = next(numbers)
            if reached in moments:
                os.kill(os.getpid(), moments[reached])

    sys.argv = ["toonbox", *arguments]
    from toonbox.__main__ import main as run

    threading.setprofile(event)
    sys.setprofile(event)
    try:
        run()
    finally:
        sys.setprofile(None)
        Path(counted).write_text(str(reached))


if __name__ == "__main__":
    main()
