"""Memory of this process."""

import ctypes
import sys
from contextlib import suppress
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST, _KEPT = 32 << 20, 64 << 20  # bytes: of an array that is kept, of all that is kept


@cache
def keep_freed_memory() -> None:
    """Let glibc keep some freed memory for the arrays to come; elsewhere, do nothing.

    Otherwise each array of a picture gets new pages from the system, which take longer to come than
    the array takes to be filled.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, _LARGEST)
            mallopt(_M_TRIM_THRESHOLD, _KEPT)
