"""The options of a conversion: declared once, for the library, the command line and the server.

Each field carries its help and its range; `toonbox.cli.main` makes command line options of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from toonbox.errors import UsageError

Resolution = int | Literal["native"] | None
MetadataPolicy = Literal["keep", "strip", "no-gps"]
Compare = Literal["side", "split"]
Stabilize = Literal["off", "on", "strong"]
Codec = Literal["h264", "hevc", "vp9", "av1"]
Engine = Literal["auto", "onnxruntime", "openvino", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "int8"]

DEFAULT_STYLE = "comic"
MAX_PIXELS = 200_000_000


def option(default: Any, help: str, **settings: Any) -> Any:
    """Declare a field.

    Args:
        default: of the field; MISSING for none.
        help: a line for people.
        settings: `min` and `max`, the range; `metavar`, what the command line shows for the value;
            `typed`, the default as people would type it.
    """
    return field(default=default, metadata={"help": help, **settings})


def choices_of(option: "Field[Any]") -> tuple[Any, ...]:
    """Return the values that a field can have, if its type enumerates them."""
    if "metavar" in option.metadata:
        return ()
    types = [option.type, *get_args(option.type)]
    return next((get_args(each) for each in types if get_origin(each) is Literal), ())


@dataclass(frozen=True)
class _Checked:
    def __post_init__(self) -> None:
        """Raise UsageError for a value that is out of range, no choice, or None."""
        for each in fields(self):
            name, value = each.name, getattr(self, each.name)
            if value is None and each.default is not None:
                raise UsageError(f"{name} cannot be None")
            if value is None or callable(value):
                continue
            if (choices := choices_of(each)) and value not in choices:
                raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
            low, high = each.metadata.get("min"), each.metadata.get("max", float("inf"))
            if low is not None and not low <= value <= high:
                wanted = f"from {low} to {high}" if high < float("inf") else f"at least {low}"
                raise UsageError(f"{name} must be {wanted}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class EngineOptions(_Checked):
    """How the network computes."""

    precision: Precision = option(
        "auto",
        "Number format for OpenVINO; auto uses int8 where the style allows it.",
    )


@dataclass(frozen=True, kw_only=True)
class StyleOptions(_Checked):
    """How a style draws."""

    strength: float = option(1.0, "Blend from the photo (0) to the cartoon (1).", min=0, max=1)
    resolution: Resolution = option(
        None,
        "Short side, in pixels, at which the network works. "
        "Default: the style's, which may be larger for photos full of detail.",
        metavar="N|native",
    )
    surface: float | None = option(
        None, "Brush smoothness (default 1).", min=0, max=2, metavar="0..2"
    )
    structure: float | None = option(
        None, "Flatness of the areas of colour (default 1).", min=0, max=2, metavar="0..2"
    )
    texture: float | None = option(
        None, "Strength of the outlines (default 1).", min=0, max=2, metavar="0..2"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resolution not in (None, "native") and (
            not isinstance(self.resolution, int) or self.resolution < 1
        ):
            raise UsageError(f"resolution must be pixels or 'native', got {self.resolution!r}")

    @property
    def knobs(self) -> dict[str, float]:
        """The knobs that are set, by name."""
        values = {name: getattr(self, name) for name in ("surface", "structure", "texture")}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class OutputOptions(_Checked):
    """What is read, and how the result is written."""

    format: str | None = option(
        None,
        "jpeg, png, webp, avif, tiff, bmp, gif or ppm; mp4, mov, mkv, webm or gif for videos. "
        "Default: that of the output's suffix, or of the input (JPEG for HEIC).",
        metavar="NAME",
    )
    quality: int | None = option(
        None, "Quality of JPEG, WebP and AVIF (default 95).", min=1, max=100
    )
    lossless: bool = option(False, "Preserve every value; fail if the format cannot.")
    metadata: MetadataPolicy = option(
        "keep", "EXIF, XMP, IPTC, resolution and comments; no-gps drops only locations."
    )
    max_pixels: int = option(
        MAX_PIXELS,
        "Refuse pictures with more pixels (all frames of an animation together), and videos "
        "with larger frames.",
        min=1,
    )
    max_memory: int | None = option(
        None,
        "Memory limit for pictures, such as 800M or 1.5G, met by smaller tiles, fewer pictures at "
        "a time, and streaming (extra huge). Default: three quarters of the machine's.",
        metavar="SIZE",
        min=1,
    )


# The fields that apply to videos, too.
FOR_VIDEOS_TOO = frozenset({"format", "metadata", "max_pixels"})


@dataclass(frozen=True, kw_only=True)
class VideoOptions(_Checked):
    """What part of a video is converted, and how it is encoded."""

    start: float | None = option(
        None, "Start at this time: seconds or [H:]MM:SS, with fractions.", metavar="TIME"
    )
    end: float | None = option(None, "Stop before this time.", metavar="TIME")
    max_height: int | None = option(None, "Scale down videos taller than this.", min=2, metavar="N")
    compare: Compare | None = option(
        None, "Show video and cartoon side by side, or split down the middle."
    )
    stabilize: Stabilize | Callable[..., Any] | None = option(
        None, "Suppress flicker. Default: on, if OpenCV is installed."
    )
    codec: Codec | None = option(
        None, "Video codec. Default: h264, which plays everywhere; vp9 for WebM."
    )
    crf: int | None = option(
        None,
        "Lower values give better quality and larger files (default 20 for h264).",
        min=0,
        max=63,
        metavar="N",
    )
    encoder_preset: str | None = option(
        None, "Encoder speed: ultrafast to veryslow for h264 and hevc.", metavar="NAME"
    )
    bits: int | None = option(
        None,
        "Bits of each channel; 10, with hevc or av1, gives smoother gradients.",
        metavar="8|10",
    )
    resume: bool = option(
        False, "Preserve finished segments if interrupted; rerun the same command to resume."
    )
    keep_partial: bool = option(False, "On Ctrl-C, keep the video up to that point.")


@dataclass(frozen=True)
class RunOptions(_Checked):
    """How a training run is done; none of it changes what is learnt, up to the precision."""

    out: Path = option(MISSING, "Folder of the run; an existing run is resumed.")
    device: Literal["auto", "cpu", "cuda"] = option("auto", "Where to train.")
    devices: int = option(1, "Processes that share each batch.", min=1)
    precision: Literal["32", "bf16"] = option("32", "Numerical precision; weights are float32.")
    workers: int = option(2, "Processes that prepare drawings, crops and superpixels.", min=0)
    sample_every: int = option(250, "Steps between samples.", min=1)
    checkpoint_minutes: float = option(
        5.0, "Minutes between checkpoints; 0 writes one after each step.", min=0
    )
    drawings: Path | None = option(None, "Folder for the drawn targets. Default: a cache folder.")


# All that a picture or a video is converted with.
Options = tuple[StyleOptions, OutputOptions, VideoOptions]


def split_options(given: Mapping[str, Any], *kinds: type[Any]) -> tuple[Any, ...]:
    """Sort keyword arguments into one object of each class; raise UsageError for unknown ones."""
    known = {each.name for kind in kinds for each in fields(kind)}
    if unknown := [name for name in given if name not in known]:
        raise UsageError(f"no option {unknown[0]!r}; available: {', '.join(sorted(known))}")
    return tuple(
        kind(**{each.name: given[each.name] for each in fields(kind) if each.name in given})
        for kind in kinds
    )


def changed(options: Any) -> list[str]:
    """Return the names of the fields that differ from their defaults."""
    return [each.name for each in fields(options) if getattr(options, each.name) != each.default]
