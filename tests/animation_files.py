"""Animations for tests, and their blocks and chunks read by hand, without Pillow."""

import io
import struct

import numpy as np
from PIL import Image


def frames_of(count=4, height=32, width=48, alpha=False):
    """Make frames of a few colours, in which a square moves; RGBA has a hole that moves too."""
    frames = []
    for number in range(count):
        frame = np.full((height, width, 4), (40, 90, 200, 255), np.uint8)
        frame[8:20, 4 + 5 * number : 14 + 5 * number, :3] = (250, 40 * number, 20)
        if alpha:
            frame[22:28, 5 * number : 5 * number + 8, 3] = 0
        frames.append(frame if alpha else np.ascontiguousarray(frame[..., :3]))
    return frames


def animation_of(frames, format, **options):
    """Write arrays as an animation, as Pillow does it."""
    images = [Image.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    images[0].save(buffer, format, save_all=True, append_images=images[1:], **options)
    return buffer.getvalue()


def gif_facts(data):
    """Tell the loops (None without) and of each image its box, hundredths, disposal, alpha."""
    assert data[:6] in (b"GIF87a", b"GIF89a")
    at = 13 + (6 << (data[10] & 7) if data[10] & 0x80 else 0)
    loops, images, control = None, [], (0, 0, False)
    while data[at] != 0x3B:
        if data[at] == 0x21:
            label, at = data[at + 1], at + 2
            if label == 0xF9:
                flags, delay = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "little")
                control = (delay, flags >> 2 & 7, bool(flags & 1))
            if label == 0xFF and data[at + 1 : at + 12] == b"NETSCAPE2.0":
                loops = int.from_bytes(data[at + 14 : at + 16], "little")
        else:
            assert data[at] == 0x2C
            box, flags = struct.unpack_from("<4H", data, at + 1), data[at + 9]
            at += 11 + (6 << (flags & 7) if flags & 0x80 else 0)
            images.append((box, *control))
            control = (0, 0, False)
        while data[at]:
            at += data[at] + 1
        at += 1
    assert at == len(data) - 1
    return loops, images


def apng_facts(data):
    """Tell the plays and of each frame its box, delay as a fraction, disposal, blending."""
    at, plays, frames, number, pixels = 8, None, [], 0, 0
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        content = data[at + 8 : at + 8 + length]
        if kind in (b"fcTL", b"fdAT"):
            assert struct.unpack_from(">I", content)[0] == number
            number += 1
        if kind == b"acTL":
            count, plays = struct.unpack(">2I", content)
        if kind == b"fcTL":
            width, height, left, top, delay, of, then, over = struct.unpack(">4I2H2B", content[4:])
            frames.append(((left, top, width, height), (delay, of), then, over))
        pixels += kind in (b"IDAT", b"fdAT")
        at += 12 + length
    assert kind == b"IEND"
    assert len(frames) == count <= pixels
    return plays, frames


def webp_facts(data):
    """Tell the plays, the flags, and of each frame its box, milliseconds, and flags."""
    assert data[:4] + data[8:16] == b"RIFFWEBPVP8X"
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    at, plays, frames = 12, None, []
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        content = data[at + 8 : at + 8 + length]
        if kind == b"VP8X":
            flags = content[0]
        if kind == b"ANIM":
            plays = int.from_bytes(content[4:6], "little")
        if kind == b"ANMF":
            left, top, width, height, time = (
                int.from_bytes(content[place : place + 3], "little") for place in range(0, 15, 3)
            )
            frames.append(((left * 2, top * 2, width + 1, height + 1), time, content[15]))
        at += 8 + length + length % 2
    return plays, flags, frames
