"""Decoders and encoders of graphics hardware: which there are, and which of them work here."""

from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import av
from av.codec.hwaccel import hwdevices_available
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

Hardware = Literal["auto", "off"]
# From an encoder's name, its options and (width, height) to whether it works.
Works = Callable[[str, dict[str, str], tuple[int, int]], bool]

PIXELS = "nv12"  # which all of them take
WORST = 51  # crf, of all of them
_DEVICES = ("cuda", "videotoolbox", "d3d11va", "dxva2", "vaapi")  # whose frames come back to memory
_LAMBDA = 118  # FFmpeg's FF_QP2LAMBDA


def _nvenc(crf: int) -> dict[str, str]:
    return {"rc": "vbr", "cq": str(max(1, crf)), "b": "0"}  # 0: no rate but what that takes


def _videotoolbox(crf: int) -> dict[str, str]:
    """Give a quality from 100, the best, to 11; on Apple silicon only."""
    quality = round(100 - 1.75 * crf)
    return {"flags": "+qscale", "global_quality": str(quality * _LAMBDA), "allow_sw": "0"}


def _qsv(crf: int) -> dict[str, str]:
    return {"global_quality": str(max(1, crf))}


def _amf(crf: int) -> dict[str, str]:
    return {"rc": "cqp", "qp_i": str(crf), "qp_p": str(crf)}


_ENCODERS = {
    "h264_nvenc": _nvenc, "hevc_nvenc": _nvenc, "av1_nvenc": _nvenc,
    "h264_videotoolbox": _videotoolbox, "hevc_videotoolbox": _videotoolbox,
    "h264_qsv": _qsv, "hevc_qsv": _qsv, "av1_qsv": _qsv,
    "h264_amf": _amf, "hevc_amf": _amf,
}  # fmt: skip


def hardware_options(name: str, crf: int) -> dict[str, str]:
    """Give an encoder's options for a quality like that of a crf, 0 to 51."""
    return _ENCODERS[name](crf)


def encodes(name: str, options: dict[str, str], size: tuple[int, int]) -> bool:
    """Tell whether an encoder works here, by encoding a black frame of (width, height)."""
    try:
        encoder = VideoCodecContext.create(name, "w")
        assert isinstance(encoder, VideoCodecContext)
        encoder.width, encoder.height = size
        encoder.pix_fmt, encoder.options = PIXELS, options
        encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
        return bool([*encoder.encode(VideoFrame(*size, PIXELS)), *encoder.encode(None)])
    except (av.FFmpegError, ValueError):  # no such hardware, or it wants other sizes
        return False


def hardware_encoder(
    codec: str, crf: int, size: tuple[int, int], works: Works = encodes
) -> str | None:
    """Choose the first encoder of a codec that FFmpeg knows and that works here.

    Args:
        codec: h264, hevc, vp9 or av1.
        crf: 0 to 51.
        size: (width, height) of the frames.
        works: tells whether one does.
    """
    for name, options in _ENCODERS.items():
        known = name.startswith(f"{codec}_") and name in av.codecs_available
        if known and works(name, options(crf), size):
            return name
    return None


def hardware_devices() -> list[str]:
    """List the devices that may decode: those that FFmpeg was built for."""
    there = hwdevices_available()
    return [device for device in _DEVICES if device in there]
