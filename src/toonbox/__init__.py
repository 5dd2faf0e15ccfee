"""Photographs and videos into cartoons, with a small white-box GAN."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from toonbox.errors import ToonboxError
from toonbox.version import __version__

if TYPE_CHECKING:
    from toonbox.convert.cartoonize import Style, cartoonize, load_style
    from toonbox.engine.style import list_styles
    from toonbox.video.frames import cartoon_frames
    from toonbox.video.pipeline import cartoonize_video

__all__ = [
    "Style",
    "ToonboxError",
    "__version__",
    "cartoon_frames",
    "cartoonize",
    "cartoonize_video",
    "list_styles",
    "load_style",
]

# toonbox sends nothing. Libraries that would report on each run are told not to, here, because in
# every process this file runs before toonbox imports any of them. What the user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# OpenVINO has no such switch, but does without this package where it cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

# Imported when first used, so that `import toonbox` costs next to nothing.
_MODULES = {
    "Style": "toonbox.convert.cartoonize",
    "cartoon_frames": "toonbox.video.frames",
    "cartoonize": "toonbox.convert.cartoonize",
    "cartoonize_video": "toonbox.video.pipeline",
    "list_styles": "toonbox.engine.style",
    "load_style": "toonbox.convert.cartoonize",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
