import io
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from animation_files import animation_of, frames_of
from icc_profiles import DISPLAY_P3, rgb_profile
from toonbox.errors import PictureError
from toonbox.images import animation
from toonbox.images.animation import Animation, in_steps
from toonbox.images.animation import read_animation as read
from toonbox.images.picture import Picture

P3 = rgb_profile(DISPLAY_P3)
TIMES = [40, 50, 1000, 30]
FORMATS = ["GIF", "PNG", "WEBP", "AVIF"]


def rgba(frame):
    opaque = np.full(frame.rgb.shape[:2], 255, np.uint8)
    return np.dstack([frame.rgb, opaque if frame.alpha is None else frame.alpha])


def gif(*blocks, size=(4, 1), background=0):
    """Make a GIF of colours 0 red, 1 green, 2 blue, 3 white."""
    table = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    head = b"GIF89a" + struct.pack("<2H3B", *size, 0x81, background, 0)
    return head + table + b"".join(blocks) + b";"


def gif_image(left, colours, then=0, transparent=None, delay=5, palette=b""):
    """Make an image of one row; clear codes keep all codes at three bits."""
    flags = then << 2 | (transparent is not None)
    control = b"!\xf9\x04" + struct.pack("<BHBB", flags, delay, transparent or 0, 0)
    bits, count = 0, 0
    for code in [code for colour in colours for code in (4, colour)] + [5]:
        bits, count = bits | code << count, count + 3
    packed = bits.to_bytes(-(-count // 8), "little")
    place = struct.pack("<4HB", left, 0, len(colours), 1, 0x81 if palette else 0) + palette
    return control + b"," + place + b"\x02" + bytes([len(packed)]) + packed + b"\0"


def letters(animation):
    """Show frames of one row as texts; a point is transparent."""
    names = {(255, 0, 0): "r", (0, 255, 0): "g", (0, 0, 255): "b", (255, 255, 255): "w"}
    return [
        "".join(names[tuple(pixel[:3])] if pixel[3] else "." for pixel in rgba(frame)[0])
        for frame in animation.frames()
    ]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("alpha", [False, True])
def test_every_frame_and_its_time(format, alpha):
    frames = frames_of(alpha=alpha)
    options = {"quality": 100} if format == "AVIF" else {"lossless": True}
    options |= {"subsampling": "4:4:4"} if format == "AVIF" else {}
    options |= {"disposal": 2} if format == "GIF" and alpha else {}
    data = animation_of(frames, format, duration=TIMES, loop=3, **options)
    animation = read(data, name="wave")
    assert isinstance(animation, Animation)
    assert (animation.name, animation.format, animation.size) == ("wave", format, (48, 32))
    assert animation.durations == tuple(map(Fraction, TIMES))
    # Pillow cannot write it for AVIF, and in GIF 3 means three more.
    assert animation.plays == {"AVIF": 0, "GIF": 4}.get(format, 3)
    assert animation.transparent == alpha
    for _ in range(2):  # as often as wanted
        for frame, expected in zip(animation.frames(), frames, strict=True):
            assert (frame.format, frame.alpha is not None) == (format, alpha)
            shown = rgba(frame)[..., 3] > 0
            difference = np.abs(frame.rgb.astype(int) - expected[..., :3])[shown]
            assert difference.max() <= (6 if format == "AVIF" else 0)
            if alpha:
                np.testing.assert_array_equal(frame.alpha, expected[..., 3])


@pytest.mark.parametrize("format", FORMATS)
def test_one_frame_is_a_picture(format, caplog):
    picture = read(animation_of(frames_of(1), format))
    assert isinstance(picture, Picture)
    assert caplog.text == ""


def test_pages_are_no_animation(caplog):
    data = animation_of(frames_of(2), "TIFF")
    assert isinstance(read(data, name="scan.tif"), Picture)
    assert "scan.tif: has more than one frame or page; only the first is used" in caplog.text


@pytest.mark.parametrize(
    ("second", "then", "expected"),
    [
        (0, 0, ["rrrr", "rggr", "rgbr"]),
        (1, 1, ["rrrr", "rggr", "rgbr"]),
        (1, 2, ["rrrr", "rggr", "r.b."[:2] + "br"]),
        (1, 3, ["rrrr", "rggr", "rrbr"]),
        # A disposal of 0 is none, whatever the frame before said.
        (2, 0, ["rrrr", ".gg.", ".gb."]),
    ],
)
def test_gif_disposal(second, then, expected):
    data = gif(
        gif_image(0, [0, 0, 0, 0], second),
        gif_image(1, [1, 1], then),
        gif_image(2, [2]),
    )
    assert letters(read(data)) == expected


def test_gif_restores_what_was_there_even_before_the_first_frame():
    data = gif(gif_image(0, [0, 0], 3), gif_image(1, [1]), gif_image(3, [2], 2), gif_image(0, [3]))
    assert letters(read(data)) == ["rr..", ".g..", ".g.b", "wg.."]


def test_gif_canvas_is_transparent_whatever_its_background():
    data = gif(gif_image(1, [0, 0], 2), gif_image(0, [1]), background=3)
    assert letters(read(data)) == [".rr.", "g..."]


def test_gif_transparent_pixels_let_through():
    data = gif(gif_image(0, [0, 1, 2, 3], 1), gif_image(0, [3, 2, 3, 0], 1, transparent=3))
    assert letters(read(data)) == ["rgbw", "rbbr"]
    assert not read(data).transparent


def test_gif_screen_is_at_least_its_first_frame():
    data = gif(gif_image(0, [0, 0, 0, 0]), gif_image(3, [1, 1, 1]), size=(0, 0))
    assert letters(read(data)) == ["rrrr", "rrrg"]


def test_gif_as_ffmpeg_shows_it(tmp_path):
    """Partial frames and disposals of all kinds."""
    path = tmp_path / "a.gif"
    path.write_bytes(
        gif(
            gif_image(0, [0, 0, 3, 3], 1),
            gif_image(1, [1, 1], 3),
            gif_image(2, [2, 2], 2, transparent=0),  # else ffmpeg clears to the background
            gif_image(0, [3, 1], 1, transparent=3),
        )
    )
    ours = [rgba(frame) for frame in read(path).frames()]
    with av.open(str(path)) as opened:
        theirs = [frame.to_ndarray(format="rgba") for frame in opened.decode(video=0)]
    assert len(ours) == len(theirs) == 4
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one[..., 3], other[..., 3])
        np.testing.assert_array_equal(one[one[..., 3] > 0], other[other[..., 3] > 0])


@pytest.mark.parametrize(("loops", "plays"), [(None, 1), (0, 0), (1, 2), (65535, 65536)])
def test_gif_loops(loops, plays):
    block = b"" if loops is None else b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", loops, 0)
    assert read(gif(block, gif_image(0, [0]), gif_image(0, [1]))).plays == plays


def test_gif_without_its_last_byte_is_read_with_a_message(caplog):
    data = gif(gif_image(0, [0], delay=0), gif_image(0, [1], delay=65535))
    assert read(data[:-1], name="a.gif").durations == (0, 655350)
    assert "a.gif: has no end marker; frames may be missing" in caplog.text


def test_gif_with_a_palette_of_greys_for_its_first_frame():
    greys = bytes(value for value in range(4) for _ in range(3))
    data = gif(gif_image(0, [0, 1, 2, 3], 1, palette=greys), gif_image(1, [0]))
    first, second = (frame.rgb[0].tolist() for frame in read(data).frames())
    assert first == [[value] * 3 for value in range(4)]
    assert second == [first[0], [255, 0, 0], *first[2:]]


@pytest.mark.parametrize("transparent", [None, 1])
def test_gif_in_grey(transparent):
    """Without a palette; each frame with the one before around and under it."""
    head = b"GIF89a" + struct.pack("<2H3B", 4, 1, 0, 0, 0)
    data = head + gif_image(0, [0, 1, 2, 3], 1) + gif_image(1, [3, 1], 1, transparent) + b";"
    first, second = (frame.rgb[0, :, 0].tolist() for frame in read(data).frames())
    assert (first, second) == ([0, 1, 2, 3], [0, 3, 1 if transparent is None else 2, 3])


def png_chunk(kind, content=b""):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def apng(frames, size=(4, 1), plays=0, hidden=None, count=None, colour_type=6):
    """Make an APNG of (left, rows of pixels, delay, of, then, over)."""
    head = struct.pack(">2I5B", *size, 8, colour_type, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", head)]
    parts.append(png_chunk(b"acTL", struct.pack(">2I", count or len(frames), plays)))
    if hidden is not None:
        parts.append(png_chunk(b"IDAT", zlib.compress(b"\0" + bytes(hidden))))
    number = 0
    channels = {6: 4, 4: 2, 0: 1}[colour_type]
    for index, (left, pixels, delay, of, then, over) in enumerate(frames):
        box = struct.pack(">5I", number, len(pixels) // channels, 1, left, 0)
        parts.append(png_chunk(b"fcTL", box + struct.pack(">2H2B", delay, of, then, over)))
        number += 1
        data = zlib.compress(b"\0" + bytes(pixels))
        if index == 0 and hidden is None:
            parts.append(png_chunk(b"IDAT", data))
        else:
            # In two chunks, which may be cut anywhere.
            for half in (data[:5], data[5:]):
                parts.append(png_chunk(b"fdAT", struct.pack(">I", number) + half))
                number += 1
    return b"".join([*parts, png_chunk(b"IEND")])


RED, GREEN, HALF, NONE = [255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 128], [0, 0, 0, 0]


def test_apng_delays_are_fractions():
    frames = [(0, RED * 4, delay, of, 0, 0) for delay, of in [(1, 30), (1001, 30000), (7, 0)]]
    assert read(apng(frames)).durations == (
        Fraction(1000, 30),
        Fraction(1001, 30),
        Fraction(70),
    )


def test_apng_blending_and_disposal():
    data = apng(
        [
            (0, RED * 4, 1, 10, 0, 0),
            (1, HALF + NONE, 1, 10, 2, 1),  # over red, then as before
            (0, HALF + NONE, 1, 10, 1, 0),  # in its place, then cleared
            (0, HALF + GREEN, 1, 10, 0, 1),  # over nothing
        ]
    )
    shown = [rgba(frame)[0].tolist() for frame in read(data).frames()]
    mixed = [127, 0, 128, 255]
    assert shown == [
        [RED] * 4,
        [RED, mixed, RED, RED],
        [HALF, NONE, RED, RED],
        [HALF, GREEN, RED, RED],
    ]


def test_apng_picture_that_is_no_frame_is_left_out(caplog):
    data = apng([(0, RED * 4, 1, 10, 0, 0), (0, GREEN, 1, 10, 0, 0)], plays=2, hidden=HALF * 4)
    animation = read(data, name="a.png")
    assert animation.plays == 2
    assert [rgba(frame)[0, 0].tolist() for frame in animation.frames()] == [RED, GREEN]
    assert "a.png: its picture for viewers that show no animations is left out" in caplog.text


def test_apng_grey_stays_grey():
    data = apng([(0, [9, 200, 0, 77], 1, 10, 0, 0), (1, [5], 1, 10, 0, 0)], colour_type=0)
    frames = list(read(data).frames())
    assert all(frame.grey for frame in frames)
    assert [frame.rgb[0, :, 0].tolist() for frame in frames] == [[9, 200, 0, 77], [9, 5, 0, 77]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(struct.pack(">4sI", b"fcTL", 1), b"fcTL\0\0\0\7"), "checksum"),
        (
            lambda _: apng([(0, RED * 4, 1, 1, 0, 0), (3, RED * 2, 1, 1, 0, 0)]),
            "Not yet implemented in FFmpeg",
        ),
    ],
)
def test_apng_damage(change, reason):
    with pytest.raises(PictureError, match=rf"a.png: is (damaged|not supported): .*{reason}"):
        read(change(apng([(0, RED * 4, 1, 10, 0, 0)] * 2)), name="a.png")


def tried(data):
    """Read with all frames; give the picture, or else the message."""
    try:
        picture = read(data, name="hurt")
        frames = list(picture.frames()) if isinstance(picture, Animation) else [picture]
    except PictureError as error:
        return None, str(error)
    assert {frame.size for frame in frames} == {picture.size}
    return picture, "hurt: "


@pytest.mark.parametrize("format", FORMATS)
def test_cut_off_anywhere(format):
    data = animation_of(frames_of(3), format, duration=50)
    for end in range(1, len(data) - 1, max(1, len(data) // 60)):
        picture, message = tried(data[:end])
        assert message.startswith("hurt: ")
        assert picture is None or format == "GIF"  # which may end between two blocks
    _, message = tried(data[: len(data) * 3 // 4])
    assert "hurt: ends before" in message or "header is damaged or cut off" in message


@pytest.mark.parametrize("format", FORMATS)
def test_altered_anywhere(format):
    data = animation_of(frames_of(3), format, duration=50)
    random = np.random.default_rng(0)
    for place in random.integers(0, len(data), 60):
        altered = bytearray(data)
        altered[place] ^= 1 << random.integers(8)
        _, message = tried(bytes(altered))
        assert message.startswith("hurt: ")


@pytest.mark.parametrize("format", FORMATS)
def test_all_frames_count_for_the_limit(format):
    data = animation_of(frames_of(4, 64, 72), format, duration=50)
    assert len(read(data, max_pixels=4 * 64 * 72).durations) == 4
    message = r"a: has 4 frames of 72 x 64, .* limit of 18,431 pixels"
    with pytest.raises(PictureError, match=message):
        read(data, max_pixels=4 * 64 * 72 - 1, name="a")


def test_small_frames_count_for_the_limit_too():
    message = "frames of 4 x 1, together more than the limit of 200,000,000 pixels, at least 4,096"
    with pytest.raises(PictureError, match=message):
        read(gif(gif_image(0, [0]) * 60_000))
    with pytest.raises(PictureError, match="has 1,000,000 " + message):
        read(apng([(0, RED, 1, 10, 0, 0), (0, GREEN, 1, 10, 0, 0)], count=1_000_000))
    with pytest.raises(PictureError, match="ends before the picture is complete"):
        read(apng([(0, RED * 4, 1, 10, 0, 0)] * 2, count=3))


def test_too_many_frames_are_refused_before_each_is_opened(monkeypatch):
    opened = []
    real = animation.open_image
    monkeypatch.setattr(animation, "open_image", lambda *a: opened.append(a) or real(*a))
    with pytest.raises(PictureError, match="together more than the limit"):
        read(gif(gif_image(0, [0]) * 60_000))
    assert len(opened) == 1


def test_apng_with_more_frames_than_it_says():
    data = apng([(0, RED * 4, 1, 10, 0, 0)] * 5, count=2)
    assert len(read(data, max_pixels=5 * 4096).durations) == 5
    with pytest.raises(PictureError, match="has 5 frames of 4 x 1, together more than the limit"):
        read(data, max_pixels=5 * 4096 - 1)


def test_apng_of_two_sizes():
    data = apng([(0, RED * 4, 1, 10, 0, 0)] * 2)
    other = png_chunk(b"IHDR", struct.pack(">2I5B", 400, 300, 8, 6, 0, 0, 0))
    with pytest.raises(PictureError, match=r"a\.png: is damaged: has two sizes"):
        read(data[:8] + other + data[8:], name="a.png")


def test_a_bomb_takes_no_memory():
    bomb = gif(*[gif_image(0, [0])] * 10_000, size=(10_000, 10_000))
    with pytest.raises(PictureError, match="has 10,000 frames of 10000 x 10000"):
        read(bomb)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "AVIF"])
def test_orientation_profile_and_metadata(format):
    exif = Image.Exif()
    exif[0x013B] = "Ada"
    turned = format != "AVIF"  # Pillow 13.0 dies of writing it there
    if turned:
        exif[0x0112] = 6
    frames = frames_of(2)
    options = {"lossless": True, "quality": 100, "subsampling": "4:4:4"}
    data = animation_of(frames, format, duration=50, exif=exif, icc_profile=P3, **options)
    animation = read(data)
    assert animation.size == ((32, 48) if turned else (48, 32))
    kept = Image.Exif()
    kept.load(animation.metadata.exif)
    assert dict(kept) == {0x013B: "Ada"}
    for frame, expected in zip(animation.frames(), frames, strict=True):
        assert frame.icc_profile == P3
        assert frame.colours is not None
        difference = np.abs(frame.rgb.astype(int) - np.rot90(expected, -1 if turned else 0))
        assert difference.max() <= (6 if format == "AVIF" else 0)


def test_a_profile_that_cannot_be_used_is_named_once(caplog):
    data = animation_of(frames_of(3), "PNG", duration=50, icc_profile=b"nonsense")
    assert [frame.icc_profile for frame in read(data).frames()] == [None] * 3
    assert caplog.text.count("its colour profile cannot be used") == 1


def test_srgb_profile_is_kept():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = animation_of(frames_of(2), "WEBP", duration=50, icc_profile=profile)
    assert {frame.icc_profile for frame in read(data).frames()} == {profile}


@pytest.mark.parametrize("plays", [0, 1, 2, 7])
def test_avif_plays(plays):
    data = animation_of(frames_of(2, alpha=True), "AVIF", duration=[40, 60])
    assert animation.avif_plays(data) == 0
    changed = animation.with_plays(data, plays)
    assert (changed == data) == (plays == 0)
    assert animation.avif_plays(changed) == plays
    assert read(changed).plays == plays
    assert Image.open(io.BytesIO(changed)).n_frames == 2


def test_times_do_not_drift():
    third = Fraction(1000, 30)
    assert in_steps([third] * 6, 10) == [3, 4, 3, 3, 4, 3]
    assert sum(in_steps([third] * 300, 10)) == 1000
    assert in_steps([Fraction(20), Fraction(0), Fraction(50)], 10) == [2, 0, 5]
