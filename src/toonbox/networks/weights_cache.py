"""Published weight files: downloaded once, checked by sha256, kept in one folder."""

import hashlib
import os
import sys
from pathlib import Path

import pooch
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from toonbox.errors import WeightsError


def cache_folder() -> Path:
    """Where downloads are kept: $TOONBOX_CACHE, else toonbox in $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("TOONBOX_CACHE")
    if chosen:
        return Path(chosen)
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "toonbox"


def fetch(url: str, sha256: str, *, offline: bool = False) -> Path:
    """Give the cached file of `url`, downloading it if it is not there yet.

    Args:
        url: address whose last part is the file's name in the cache.
        sha256: of the whole file, 64 hexadecimal digits; checked on every call.
        offline: never touch the network; so does the environment variable TOONBOX_OFFLINE=1.
    Returns:
        The file's path, its content checked.
    Raises:
        WeightsError: offline and not in the cache, or the download failed or is not the file.
    """
    folder = cache_folder()
    target = folder / url.rsplit("/", 1)[-1]
    if target.is_file() and _sha256(target) == sha256:
        return target
    if offline or os.environ.get("TOONBOX_OFFLINE", "0") not in ("", "0"):
        state = "is damaged" if target.exists() else "is missing"
        raise WeightsError(
            f"{target} {state} and downloads are switched off; fetch {url} on a machine with a "
            f"network and put it there, or name a weights file of your own"
        )
    try:
        return Path(
            pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}",
                fname=target.name,
                path=folder,
                progressbar=_Bar() if sys.stderr.isatty() else False,
            )
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong hash ValueError
        raise WeightsError(f"{target.name} could not be downloaded from {url}: {error}") from error


class _Bar:
    """A download's progress on standard error, with the methods that pooch asks for."""

    def __init__(self) -> None:
        self.total = 0
        self._bar = Progress(
            *Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True)
        )
        self._task = self._bar.add_task("Downloading weights", total=None)

    def update(self, count: int) -> None:
        self._bar.start()
        self._bar.update(self._task, total=self.total, advance=count)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        self._bar.stop()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
