"""TIFFs by hand, of all kinds that Pillow does not write."""

import struct
import zlib

import numpy as np


def tiff(array, order="<", *, deflate=False, planar=False, predictor=1, tags=()):
    """Write (H, W) or (H, W, C) of any type.

    `tags` are more of them, tag: numbers, or other numbers for those written here.
    """
    array = np.atleast_3d(array)
    height, width, channels = array.shape
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    planes = np.split(array, channels, axis=2) if planar else [array]
    tall, blocks = 7, []
    for plane in planes:
        for top in range(0, height, tall):
            data = packed(plane[top : top + tall], order, predictor)
            blocks.append(zlib.compress(data) if deflate else data)
    starts = np.cumsum([8, *map(len, blocks)]).tolist()
    told = {
        **{256: [width], 257: [height], 258: [array.itemsize * 8] * channels},
        **{259: [8 if deflate else 1], 262: [2 if channels > 2 else 1], 277: [channels]},
        **{284: [2 if planar else 1], 317: [predictor], 339: [kind] * channels},
        **{273: starts[:-1], 278: [tall], 279: [len(block) for block in blocks]},
        **dict(tags),
    }
    at = starts[-1] + starts[-1] % 2
    entries, rest = b"", b""
    for tag, numbers in sorted(told.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = at + 6 + 12 * len(told) + len(rest)
            data, rest = struct.pack(f"{order}I", place), rest + data
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + data
    directory = struct.pack(f"{order}H", len(told)) + entries + bytes(4) + rest
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, at)
    return head + b"".join(blocks) + bytes(starts[-1] % 2) + directory


def packed(block, order, predictor):
    """Write the bytes of a strip, (H, W, C)."""
    if predictor == 2:
        block = np.diff(block, axis=1, prepend=block.dtype.type(0))
    if predictor == 3:
        height, _, channels = block.shape
        highest = np.ascontiguousarray(block.astype(block.dtype.newbyteorder(">")))
        apart = highest.view(np.uint8).reshape(height, -1, block.itemsize).transpose(0, 2, 1)
        apart = apart.reshape(height, -1, channels)
        return np.diff(apart, axis=1, prepend=np.uint8(0)).tobytes()
    return block.astype(block.dtype.newbyteorder(order)).tobytes()
