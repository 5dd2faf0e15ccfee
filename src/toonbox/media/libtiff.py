"""What libtiff says about a file; by itself it writes that to standard error, without a name."""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from PIL import _imaging

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_LONGEST = 500


@contextmanager
def messages() -> Iterator[list[str]]:
    """Collect the errors that Pillow's libtiff tells of in this thread, each once, in a list.

    Only one thread may be inside at a time. Those of other threads go where they always did. Where
    libtiff cannot be reached, as inside a Pillow that has it built in, the list stays empty.
    """
    told: list[str] = []
    library = _library()
    if library is None:
        yield told
        return
    ours = threading.get_ident()

    def hear(module: bytes | None, form: bytes, values: int) -> None:
        buffer = ctypes.create_string_buffer(_LONGEST)
        ctypes.CDLL(None).vsnprintf(buffer, _LONGEST, form, ctypes.c_void_p(values))
        text = buffer.value.decode(errors="replace")
        if threading.get_ident() != ours:
            print(f"{(module or b'').decode(errors='replace')}: {text}.", file=sys.stderr)
        elif text not in told:
            told.append(text)

    handler = _HANDLER(hear)  # must live until it is taken away again
    before = library.TIFFSetErrorHandler(ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield told
    finally:
        library.TIFFSetErrorHandler(before)


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(_imaging.__file__)  # finds what it depends on, too
        library.TIFFSetErrorHandler.restype = ctypes.c_void_p
        library.TIFFSetErrorHandler.argtypes = [ctypes.c_void_p]
        ctypes.CDLL(None).vsnprintf  # noqa: B018 (not so on Windows)
    except (AttributeError, OSError, TypeError):
        return None
    return library
