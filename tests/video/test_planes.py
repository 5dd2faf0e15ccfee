"""Cartoons in YUV: the same as FFmpeg makes of them, and as by way of RGB."""

import numpy as np
import pytest
from av.video.reformatter import ColorRange

from toonbox.engine.guided import upsample
from toonbox.video.planes import to_frame, to_yuv, upsample_luma
from toonbox.video.read import FrameColours, from_rgb, read_frames, read_video, to_rgb
from video_files import Clip

LIMITED, FULL = ColorRange.MPEG.value, ColorRange.JPEG.value


def random_levels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("range", [0, LIMITED, FULL])
@pytest.mark.parametrize("matrix", [1, 2, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("tall", [False, True])
def test_luma_and_chroma_are_those_of_ffmpeg(matrix, range, tall):
    colours = FrameColours(range, matrix, 2, 2, tall)
    rgb = random_levels(16, 64, 3)
    frame = from_rgb(rgb, colours, format="yuv444p").to_ndarray()
    made = np.moveaxis(to_yuv(rgb, colours), 2, 0)
    assert np.abs(made.astype(int) - frame).max() <= 1


@pytest.mark.parametrize("size", [(64, 96), (63, 101), (40, 33), (32, 31)])
def test_luma_is_enlarged_as_photos_are(size):
    photo = random_levels(*size)
    small, cartoon = random_levels(32, 31, seed=1), random_levels(32, 31, seed=2)
    luma = upsample_luma(photo, small, cartoon)
    strips = upsample(photo[..., None], small[..., None], cartoon[..., None])
    enlarged = np.concatenate([values for _, _, values in strips])[..., 0]
    difference = np.abs(luma - enlarged.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


@pytest.mark.parametrize("turned", [{}, {"degrees": 90}, {"degrees": 180}])
def test_luma_and_colours_make_the_frame(tmp_path, turned):
    """A picture's own luma and colours, put together again, are the picture."""
    video = read_video(Clip(pts=[0], turned=turned).make(tmp_path / "clip.mp4"))
    (frame,), written = read_frames(video), video.colours.written
    height, width = frame.photo.shape[:2]
    assert frame.luma().shape == (height, width)
    yuv = to_yuv(frame.photo, written)
    assert np.abs(yuv[..., 0] - frame.luma().astype(int)).mean() < 0.5
    rgb = to_rgb(to_frame(frame.luma(), yuv, written), (width, height), written)
    assert np.abs(rgb - frame.photo.astype(int)).mean() < 2
