"""Photographs and videos into cartoons, with a small white-box GAN."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from toonbox.errors import (
    MissingExtraError,
    OutputError,
    PictureError,
    ShapeError,
    StyleError,
    ToonboxError,
    UnexpectedError,
    UsageError,
    VideoError,
)
from toonbox.version import __version__

if TYPE_CHECKING:
    from toonbox.convert.cartoonize import cartoonize, cartoonize_bytes, cartoonize_file
    from toonbox.engine.style import Card, Style, list_styles, load_style
    from toonbox.options import OutputOptions, StyleOptions, VideoOptions
    from toonbox.video.pipeline import Progress, VideoResult, cartoonize_video
    from toonbox.video.stylizer import CartoonFrame, video_frames

__all__ = [
    "Card",
    "CartoonFrame",
    "MissingExtraError",
    "OutputError",
    "OutputOptions",
    "PictureError",
    "Progress",
    "ShapeError",
    "Style",
    "StyleError",
    "StyleOptions",
    "ToonboxError",
    "UnexpectedError",
    "UsageError",
    "VideoError",
    "VideoOptions",
    "VideoResult",
    "__version__",
    "cartoonize",
    "cartoonize_bytes",
    "cartoonize_file",
    "cartoonize_video",
    "list_styles",
    "load_style",
    "video_frames",
]

# toonbox sends nothing. Libraries that would report on each run are told not to, here, because in
# every process this file runs before toonbox imports any of them. What the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# OpenVINO has no such switch, but does without this package where it cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

# Imported when first used, so that `import toonbox` costs next to nothing.
_MODULES = {
    "convert.cartoonize": ("cartoonize", "cartoonize_bytes", "cartoonize_file"),
    "engine.style": ("Card", "Style", "list_styles", "load_style"),
    "options": ("OutputOptions", "StyleOptions", "VideoOptions"),
    "video.stylizer": ("CartoonFrame", "video_frames"),
    "video.pipeline": ("Progress", "VideoResult", "cartoonize_video"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"toonbox.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
