import itertools

import pytest

from toonbox.media.joining import decoding_times
from toonbox.media.video_metadata import kept_metadata


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
