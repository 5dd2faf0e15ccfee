import itertools
from fractions import Fraction

import pytest

from toonbox.video.passthrough import decoding_times
from toonbox.video.read import FrameColours
from toonbox.video.write import (
    Encoding,
    Segment,
    Track,
    kept_metadata,
    read_segment,
    writing_segment,
)
from video_files import motion


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 3, 1, 2], [-1, 0, 1, 2]),
        ([5, 11, 7, 20, 9], [1, 3, 5, 7, 9]),
        ([4], [4]),
        ([], []),
    ],
)
def test_decoding_times(shown, expected):
    assert decoding_times(shown) == expected


@pytest.mark.parametrize("order", list(itertools.permutations([0, 1, 4, 9, 16])))
def test_no_frame_is_decoded_after_it_is_shown(order):
    decoded = decoding_times(list(order))
    assert all(before < after for before, after in itertools.pairwise(decoded))
    assert all(when <= shown for when, shown in zip(decoded, order, strict=True))


TOLD = {
    "title": "A trip",
    "LOCATION": "+47/",
    "com.apple.quicktime.location.ISO6709": "+47/",
    "GPSCoordinates": "47",
    "language": "deu",
    "encoder": "Lavf",
    "BPS-eng": "1",
    "DURATION": "1",
    "_STATISTICS_TAGS": "x",
}


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("keep", list(TOLD)[:5]),
        ("no-gps", ["title", "language"]),
        ("strip", ["language"]),
    ],
)
def test_metadata(keep, kept):
    assert list(kept_metadata(TOLD, keep)) == kept


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "gif"])
@pytest.mark.parametrize("late", [0, 7])
def test_a_segment_ends_when_its_last_frame_does(tmp_path, codec, late):
    """However frames are sorted for decoding, and whatever the encoder says."""
    track = Track((64, 48), Fraction(1, 100), None, Fraction(1), FrameColours(1, 1, 1, 1))
    shown = [(0, 10), (10, 10), (20, 10), (30, 7), (37, 25)]
    with writing_segment(tmp_path / "a.mp4", track, Encoding(codec)) as writer:
        for rgb, (pts, duration) in zip(motion(5), shown, strict=True):
            writer.write(rgb, pts + late, duration)
    path = tmp_path / "a.mp4"
    first, last, end = (Fraction(at + late, 100) for at in (0, 37, 62))
    assert read_segment(path) == Segment(path, 5, first, last, end)
