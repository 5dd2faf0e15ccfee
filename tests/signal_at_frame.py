"""Run `toonbox` and let it send itself a signal at a frame: `signal_at_frame.py NUMBER ARGUMENTS`.

Thus it does not depend on how fast a machine is.
"""

import itertools
import os
import sys
from collections.abc import Callable

from toonbox.video.write import SegmentWriter

FRAME = 6


def at_frame(act: Callable[[], object]) -> Callable[..., None]:
    """Give a `SegmentWriter.write` that does something more, once FRAME frames are written."""
    write, numbers = SegmentWriter.write, itertools.count(1)

    def written(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        if next(numbers) == FRAME:
            act()

    return written


if __name__ == "__main__":
    from toonbox.__main__ import main

    number, *arguments = sys.argv[1:]
    SegmentWriter.write = at_frame(lambda: os.kill(os.getpid(), int(number)))  # type: ignore[method-assign]
    sys.argv = ["toonbox", *arguments]
    main()
