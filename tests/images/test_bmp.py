import struct

import numpy as np
import pytest

from toonbox.errors import PictureError
from toonbox.images.picture import decode


def bmp(bits, masks, numbers, header=40, top_down=False):
    """Write a BMP by masks; a header of 40 bytes has them behind it, longer ones inside."""
    height, width = np.shape(numbers)
    rows = np.asarray(numbers, "<u4").view(np.uint8).reshape(height, width, 4)[..., : bits // 8]
    stride = (width * bits + 31) // 32 * 4
    rows = [row.tobytes().ljust(stride, b"\0") for row in (rows if top_down else rows[::-1])]
    body, sign = b"".join(rows), -1 if top_down else 1
    told = struct.pack(
        "<IiiHHIIiiII", header, width, sign * height, 1, bits, 3, len(body), *[0] * 4
    )
    told += struct.pack(f"<{len(masks)}I", *masks)
    told = told.ljust(header, b"\0")
    start = 14 + len(told)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + told + body


@pytest.mark.parametrize("top_down", [False, True])
def test_four_bits_a_channel(top_down):
    numbers = [[0xF00, 0x0F0, 0x00F], [0x888, 0, 0xFFF]]
    picture = decode(bmp(16, (0xF00, 0xF0, 0xF), numbers, top_down=top_down))
    expected = [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(136,) * 3, (0,) * 3, (255,) * 3]]
    np.testing.assert_array_equal(picture.rgb, expected)
    assert (picture.format, picture.alpha) == ("BMP", None)


def test_ten_bits_a_channel_and_two_of_alpha():
    masks = 0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000
    picture = decode(bmp(32, masks, [[0x3FF00000, 0xC00FFC00, 0x800003FF]], header=108))
    np.testing.assert_array_equal(picture.rgb, [[(255, 0, 0), (0, 255, 0), (0, 0, 255)]])
    np.testing.assert_array_equal(picture.alpha, [[0, 255, 170]])


def test_three_bytes_in_another_order():
    picture = decode(bmp(24, (0xFF, 0xFF00, 0xFF0000), [[0x0000FF, 0x010203]]))
    np.testing.assert_array_equal(picture.rgb, [[(255, 0, 0), (3, 2, 1)]])


@pytest.mark.parametrize("masks", [(0x5, 0xF0, 0xF00), (0, 0xF0, 0xF00)])
def test_masks_that_make_no_sense(masks):
    with pytest.raises(PictureError, match="is not supported: Unsupported BMP bitfields"):
        decode(bmp(16, masks, [[1, 2]]))


def test_cut_off():
    with pytest.raises(PictureError, match="ends before the picture is complete"):
        decode(bmp(16, (0xF00, 0xF0, 0xF), [[1, 2], [3, 4]])[:-1])
