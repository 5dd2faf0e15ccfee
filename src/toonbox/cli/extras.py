"""What to say when a part that is not installed is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from toonbox.errors import MissingExtraError


@contextmanager
def learning_half() -> Iterator[None]:
    """Turn a missing package of the learning half into advice.

    Raises:
        MissingExtraError: says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] == "toonbox":
            raise
        raise MissingExtraError(
            f"this needs {error.name}, which is not installed: pip install 'toonbox[train]'"
        ) from error
