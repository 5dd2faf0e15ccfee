"""Published weight files: downloaded once, checked by sha256, kept in one folder."""

import hashlib
import os
from pathlib import Path

import pooch

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
                progressbar=False,
            )
        )
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong hash ValueError
        raise WeightsError(f"{target.name} could not be downloaded from {url}: {error}") from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
