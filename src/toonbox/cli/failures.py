"""What is said of failures, and where the tracebacks of unexpected ones are kept."""

import logging
import os
import sys
import traceback
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from toonbox.cli.messages import complain
from toonbox.errors import ToonboxError, UnexpectedError
from toonbox.version import __version__

_MOST = 1 << 20  # bytes of the log, which then begins anew
_logger = logging.getLogger("toonbox")


def show_tracebacks(wanted: bool) -> bool:
    """Choose between standard error and the log, for all tracebacks from now on."""
    _logger.setLevel(logging.DEBUG if wanted else logging.NOTSET)
    return wanted


Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        callback=show_tracebacks,
        help="Show the traceback of an unexpected error, which goes into a log otherwise.",
    ),
]


def report(picture: Path, message: str) -> None:
    """Say on standard error which picture failed and why."""
    named = message.startswith(f"{picture}: ")
    complain(message if named else f"{picture}: {message}")


def message_of(error: ToonboxError) -> str:
    """Give an error's message; the traceback of an unexpected one is shown, or logged and named."""
    if not isinstance(error, UnexpectedError):
        return str(error)
    text = "".join(traceback.format_exception(error))
    if not _logger.isEnabledFor(logging.DEBUG):
        try:
            return f"{error}; traceback in {_log(text)}"
        except (OSError, RuntimeError):  # no place for it, or no home
            pass
    typer.echo(text, nl=False, err=True)
    return str(error)


def _log(text: str) -> Path:
    file = _folder() / "errors.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = "a" if file.exists() and file.stat().st_size < _MOST else "w"
    with file.open(mode, encoding="utf-8", errors="backslashreplace") as log:
        log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}, toonbox {__version__}\n{text}\n")
    return file


def _folder() -> Path:
    """Give the folder for logs that platformdirs would give."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local, "toonbox", "Logs")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Logs" / "toonbox"
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state, "toonbox", "log")
