"""What the values of a video's frames mean, and frames from and to RGB without guessing twice."""

import sys
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation

from toonbox.pixels import PhotoArray

# Numbers of ITU-T H.273, as FFmpeg has them.
UNSPECIFIED = 2
HDR = (ColorTrc.SMPTE2084.value, ColorTrc.ARIB_STD_B67.value)
_BT709, _RGB = 1, 0
TEN_BITS = "yuv420p10le"
_RGB48 = "rgb48le" if sys.byteorder == "little" else "rgb48be"
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
# Rounding as it should be; without it a frame is darker each time it goes from RGB to YUV.
_HOW = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class FrameColours:
    """What the values of frames mean.

    Attributes:
        range: FFmpeg's number: 1 limited, 2 full, 0 not told.
        matrix, primaries, transfer: numbers of H.273; 2 if not told.
        tall: whether they are larger than standard definition, which decides what is not told.
    """

    range: int
    matrix: int
    primaries: int
    transfer: int
    tall: bool = False

    @property
    def known_matrix(self) -> Colorspace:
        """Give the matrix, or what players take for one that is not told."""
        usual = Colorspace.ITU709 if self.tall else Colorspace.ITU601
        return _MATRICES.get(self.matrix, usual)

    @property
    def known_range(self) -> ColorRange:
        """Give the range, or limited, which players take for one that is not told."""
        return ColorRange.JPEG if self.range == ColorRange.JPEG else ColorRange.MPEG

    @property
    def written(self) -> "FrameColours":
        """Give what the cartoon's frames mean: the same, but SDR for HDR and YUV for RGB."""
        if self.transfer in HDR:
            return FrameColours(ColorRange.MPEG.value, _BT709, _BT709, _BT709, self.tall)
        matrix = UNSPECIFIED if self.matrix == _RGB else self.matrix
        range = ColorRange.MPEG.value if self.matrix == _RGB else self.range
        return FrameColours(range, matrix, self.primaries, self.transfer, self.tall)


def colours_of(frame: VideoFrame) -> FrameColours:
    """Read what a frame says of its values; names such as yuvj420p say that the range is full."""
    full = frame.format.name.startswith("yuvj")
    return FrameColours(
        ColorRange.JPEG.value if full else frame.color_range,
        _RGB if frame.format.is_rgb else frame.colorspace,
        frame.color_primaries,
        frame.color_trc,
        tall=frame.width >= 1280 or frame.height > 576,
    )


def is_transparent(frame: VideoFrame) -> bool:
    """Tell whether a frame of a GIF lets something through; FFmpeg makes that white."""
    return frame.format.name == "bgra" and bool(frame.to_ndarray()[..., 3].min() < 255)


def to_rgb(
    frame: VideoFrame, size: tuple[int, int], colours: FrameColours, *, deep: bool = False
) -> PhotoArray:
    """Convert a frame, of 8 bits or more, to (H, W, 3) RGB of 8, or of 16 if it is to be deep.

    HDR becomes SDR: what is brighter than white there becomes white.

    Args:
        frame: of any format.
        size: (width, height) to bring it to.
        colours: as `colours_of` the video's first frame.
    """
    hdr = colours.transfer in HDR
    rgb = frame.reformat(
        width=size[0],
        height=size[1],
        format=_RGB48 if deep else "rgb24",
        src_colorspace=None if colours.matrix == _RGB else colours.known_matrix,
        src_color_range=None if colours.matrix == _RGB else colours.known_range,
        dst_color_range=ColorRange.JPEG,
        dst_color_trc=ColorTrc.BT709 if hdr else None,
        dst_color_primaries=ColorPrimaries.BT709 if hdr else None,
        interpolation=_HOW,
    )
    return np.ascontiguousarray(rgb.to_ndarray())


def from_rgb(rgb: PhotoArray, colours: FrameColours) -> VideoFrame:
    """Convert (H, W, 3) RGB, both sides even, to a frame with these colours.

    It is in yuv420p for 8 bits, and in yuv420p10le for 16.
    """
    deep = rgb.dtype == np.uint16
    frame = VideoFrame.from_ndarray(rgb, _RGB48 if deep else "rgb24").reformat(
        format=TEN_BITS if deep else "yuv420p",
        dst_colorspace=colours.known_matrix,
        src_color_range=ColorRange.JPEG,
        dst_color_range=colours.known_range,
        interpolation=_HOW,
    )
    frame.color_range, frame.colorspace = colours.range, colours.matrix
    frame.color_primaries, frame.color_trc = colours.primaries, colours.transfer
    return frame
