"""Run `toonbox` and let it send itself a signal on its way: `signalling.py NUMBER ARGUMENTS`.

It comes with the sixth picture or frame that is written, so that it does not depend on how fast a
machine is.
"""

import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

from toonbox.convert.job import Converter
from toonbox.video.write import SegmentWriter

AT = 6


def at_sixth(function: Callable[..., Any], act: Callable[[], object]) -> Callable[..., Any]:
    """Give what does the same, and at the end of its sixth call something more."""
    numbers = itertools.count(1)

    def counted(*arguments: Any, **options: Any) -> Any:
        result = function(*arguments, **options)
        if next(numbers) == AT:
            act()
        return result

    return counted


def main() -> None:
    from toonbox.__main__ import main as run

    number, *arguments = sys.argv[1:]

    def signal() -> None:
        os.kill(os.getpid(), int(number))

    SegmentWriter.write = at_sixth(SegmentWriter.write, signal)  # type: ignore[method-assign]
    Converter.convert = at_sixth(Converter.convert, signal)  # type: ignore[method-assign]
    sys.argv = ["toonbox", *arguments]
    run()


if __name__ == "__main__":
    main()
