import io
import itertools
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from animation_files import apng_facts, frames_of, gif_facts, webp_facts
from toonbox.errors import OutputError, UsageError
from toonbox.images.animation import Animation, encode_animation
from toonbox.images.animation import read_animation as read
from toonbox.images.encode import encode
from toonbox.images.metadata import Metadata
from toonbox.images.picture import Picture, decode
from toonbox.pixels import GreyColours

TIMES = [40, 50, 1000, 30, 20]
FORMATS = ["GIF", "PNG", "WEBP", "AVIF"]


def animation(frames, times=TIMES, plays=3, metadata=None, **options):
    pictures = [
        Picture("wave", frame[..., :3], frame[..., 3] if frame.shape[2] == 4 else None, **options)
        for frame in frames
    ]
    size, transparent = pictures[0].size, pictures[0].alpha is not None
    durations = tuple(map(Fraction, times[: len(frames)]))
    return Animation(
        "wave", "GIF", size, durations, plays, transparent, metadata or Metadata(),
        lambda: iter(pictures),
    )  # fmt: skip


def written(animation, format, **options):
    pairs = ((frame, np.ascontiguousarray(frame.rgb)) for frame in animation.frames())
    return encode_animation(animation, pairs, format, **options)


def shown(data):
    frames = []
    for frame in read(data).frames():
        opaque = np.full(frame.rgb.shape[:2], 255, np.uint8)
        frames.append(np.dstack([frame.rgb, opaque if frame.alpha is None else frame.alpha]))
    return frames


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_everything_comes_back(format, alpha, plays):
    frames = frames_of(4, alpha=alpha)
    frames.append(frames[-1].copy())  # equal ones stay two
    options = {"lossless": format in ("PNG", "WEBP"), "quality": 100}
    data = written(animation(frames, plays=plays), format, **options)
    result = read(data)
    assert (result.format, result.plays, result.transparent) == (format, plays, alpha)
    times = TIMES
    if format == "WEBP":  # libwebp makes one of them, shown as long as both
        del frames[-1]
        times = [*TIMES[:3], sum(TIMES[3:])]
    assert result.durations == tuple(times)
    for frame, expected in zip(shown(data), frames, strict=True):
        if alpha:
            np.testing.assert_array_equal(frame[..., 3], expected[..., 3])
        visible = frame[..., 3] > 0
        difference = np.abs(frame.astype(int)[..., :3] - expected[..., :3])[visible]
        assert difference.max() <= (6 if format == "AVIF" else 0)


@pytest.mark.parametrize(("plays", "loops"), [(0, 0), (1, None), (2, 1), (70_000, 65535)])
def test_gif_blocks(plays, loops):
    frames = frames_of(3)
    found, images = gif_facts(written(animation([*frames, frames[-1]], plays=plays), "GIF"))
    assert found == loops
    assert [delay for _, delay, *_ in images] == [4, 5, 100, 3]
    assert [then for _, _, then, _ in images] == [1, 1, 1, 1]
    # The square moves from 4 to 14, and then rests.
    assert [box for box, *_ in images] == [
        (0, 0, 48, 32), (4, 8, 15, 12), (9, 8, 15, 12), (47, 31, 1, 1),
    ]  # fmt: skip


def test_gif_with_holes_is_cleared_between_frames():
    _, images = gif_facts(written(animation(frames_of(3, alpha=True)), "GIF"))
    assert images == [
        ((0, 0, 48, 32), 4, 2, True),
        ((0, 0, 48, 32), 5, 2, True),
        ((0, 0, 48, 32), 100, 2, True),
    ]


def test_apng_chunks():
    times = [Fraction(1000, 30), Fraction(1001, 60), Fraction(0), Fraction(65_535_000)]
    frames = frames_of(3)
    plays, found = apng_facts(written(animation([*frames, frames[-1]], times, plays=7), "PNG"))
    assert plays == 7
    assert [delay for _, delay, *_ in found] == [(1, 30), (1001, 60000), (0, 1), (65535, 1)]
    boxes = [(0, 0, 48, 32), (4, 8, 15, 12), (9, 8, 15, 12), (0, 0, 1, 1)]
    assert [(box, then, over) for box, _, then, over in found] == [(box, 0, 0) for box in boxes]


@pytest.mark.parametrize("alpha", [False, True])
def test_webp_chunks(alpha):
    frames = frames_of(3, alpha=alpha)
    data = written(animation([*frames, frames[-1]], plays=7), "WEBP", lossless=True)
    plays, flags, found = webp_facts(data)
    assert (plays, flags & 0x02) == (7, 0x02)
    assert [time for _, time, _ in found] == [40, 50, 1000 + 30]
    assert found[0][0] == (0, 0, 48, 32)
    assert all(width < 48 and height < 32 for (_, _, width, height), *_ in found[1:])


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_colours_of_what_is_transparent_are_kept(format):
    frames = frames_of(3, alpha=True)
    for number, frame in enumerate(frames):
        frame[frame[..., 3] == 0] = (1, 2, 3 + number, 0)
    data = written(animation(frames), format, lossless=True)
    image = Image.open(io.BytesIO(data))
    for number, expected in enumerate(frames):
        image.seek(number)
        if format == "WEBP":  # its decoder blends onto nothing, which loses them
            np.testing.assert_array_equal(np.asarray(image)[..., 3], expected[..., 3])
        else:
            np.testing.assert_array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("format", ["GIF", "PNG", "AVIF"])
def test_as_ffmpeg_shows_it(format, tmp_path):
    path, frames = tmp_path / f"a.{format.lower()}", frames_of(4)
    path.write_bytes(written(animation(frames), format, quality=100))
    with av.open(str(path)) as opened:
        last = len(opened.streams.video) - 1  # before it AVIF has its still picture
        decoded = [(frame.pts * frame.time_base, frame) for frame in opened.decode(video=last)]
        theirs = [frame.to_ndarray(format="rgb24") for _, frame in decoded]
    for one, other in zip(theirs, frames, strict=True):
        assert np.abs(one.astype(int) - other).max() <= (8 if format == "AVIF" else 0)
    times = [time * 1000 for time, _ in decoded]
    if format != "AVIF":  # of which ffmpeg guesses the rate
        assert times == [0, 40, 90, 1090]


@pytest.mark.parametrize(
    ("tool", "format", "expected"),
    [
        (["gifsicle", "--info"], "GIF", ["4 images", "loop count 2", "delay 1.00s"]),
        (["webpinfo"], "WEBP", ["No error detected", "Loop count      : 3", "Duration: 1000"]),
        (["avifdec", "--info"], "AVIF", ["1120 timescales", "4 frames"]),
    ],
)
def test_as_other_tools_see_it(tool, format, expected, tmp_path):
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    path = tmp_path / f"a.{format.lower()}"
    path.write_bytes(written(animation(frames_of(4)), format))
    run = subprocess.run([*tool, str(path)], capture_output=True, text=True, check=True)
    for text in expected:
        assert text in run.stdout


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_and_profile(format, caplog):
    exif = Image.Exif()
    exif[0x013B] = "Ada"
    metadata = Metadata(
        exif.tobytes(), b"<x:xmpmeta/>", None, (72.0, 72.0), "a remark", (("Title", "Wave"),)
    )
    profile = b"profile" * 20
    frames = frames_of(3)
    data = written(animation(frames, metadata=metadata, icc_profile=profile), format)
    image = Image.open(io.BytesIO(data))
    if format == "GIF":
        assert image.info["comment"] == b"a remark"
        assert "GIF has no place for its metadata: exif, texts, xmp" in caplog.text
        return
    assert image.info["icc_profile"] == profile
    assert image.getexif()[0x013B] == "Ada"
    assert image.info["xmp"] == b"<x:xmpmeta/>"
    if format == "PNG":
        assert image.info["Comment"] == "a remark"
        assert image.info["Title"] == "Wave"
        assert image.info["dpi"] == pytest.approx((72, 72), abs=0.01)
    else:
        assert caplog.text.count(f"{format} has no place for its metadata: comment") == 1


@pytest.mark.parametrize("format", FORMATS)
def test_grey_stays_grey(format):
    random = np.random.default_rng(3)
    frames = [np.repeat(random.integers(0, 256, (16, 16, 1), np.uint8), 3, 2) for _ in range(3)]
    data = written(animation(frames, colours=GreyColours()), format, quality=100)
    for frame, expected in zip(read(data).frames(), frames, strict=True):
        assert frame.grey or format in ("GIF", "WEBP")  # which have colours only
        tolerance = 0 if format in ("GIF", "PNG") else 12
        assert np.abs(frame.rgb.astype(int) - expected).max() <= tolerance


def test_quality_and_lossless():
    random = np.random.default_rng(3)
    frames = [random.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(2)]
    for format in ("WEBP", "AVIF"):
        low, high = (len(written(animation(frames), format, quality=q)) for q in (10, 95))
        assert low < high / 2
    np.testing.assert_array_equal(
        shown(written(animation(frames), "WEBP", lossless=True))[1][..., :3], frames[1]
    )
    for format in ("GIF", "AVIF"):
        with pytest.raises(OutputError, match=f"{format} is never lossless"):
            written(animation(frames), format, lossless=True)
        with pytest.raises(UsageError, match="quality must be from 1 to 100"):
            written(animation(frames), format, quality=0)


def test_too_large_for_the_format():
    frames = [np.zeros((1, 16384, 3), np.uint8)] * 2
    with pytest.raises(OutputError, match="wave: cannot be written as WEBP"):
        written(animation(frames), "WEBP")


@pytest.mark.parametrize("format", FORMATS)
def test_frames_without_a_duration(format):
    least = 1 if format == "AVIF" else 0
    data = written(animation(frames_of(3), [0, 0, 50]), format)
    assert read(data).durations == (least, least, 50)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_frames_of_which_nothing_is_seen(format):
    frames = frames_of(3, alpha=True)
    frames[0][..., 3] = frames[2][..., 3] = 0
    for frame, expected in zip(shown(written(animation(frames), format)), frames, strict=True):
        np.testing.assert_array_equal(frame[..., 3], expected[..., 3])


@pytest.mark.parametrize("alpha", [False, True])
def test_grey_apng_is_exact(alpha):
    random = np.random.default_rng(3)
    frames = [random.integers(0, 256, (7, 5, 2), np.uint8) for _ in range(3)]
    frames = [frame[..., [0, 0, 0, 1] if alpha else [0, 0, 0]] for frame in frames]
    data = written(animation(frames, colours=GreyColours()), "PNG")
    assert Image.open(io.BytesIO(data)).mode == ("LA" if alpha else "L")
    for frame, expected in zip(shown(data), frames, strict=True):
        np.testing.assert_array_equal(frame[..., : expected.shape[2]], expected)


def test_a_long_comment_of_a_gif():
    metadata = Metadata(comment="é" * 400)
    data = written(animation(frames_of(2), metadata=metadata), "GIF")
    assert read(data).metadata.comment == metadata.comment


def test_gif_shows_no_frame_longer_than_its_field(caplog):
    data = written(animation(frames_of(2), [700_000, 50]), "GIF")
    assert [delay for _, delay, *_ in gif_facts(data)[1]] == [65535, 5]
    assert "wave: GIF shows no frame longer than 655.35 s" in caplog.text


def test_only_one_frame_is_held():
    alive, most = 0, 0

    class Counted(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= self.base is None

    def drawn():
        nonlocal alive, most
        for number, frame in zip(range(30), itertools.cycle(frames), strict=False):
            cartoon = np.ndarray.__new__(Counted, frame.shape, np.uint8)
            cartoon[:] = frame
            cartoon[0, 0] = number
            alive += 1
            most = max(most, alive)
            yield pictures[0], cartoon

    frames = frames_of(2)
    moving = replace(animation(frames), durations=(Fraction(50),) * 30)
    pictures = list(moving.frames())
    for format in FORMATS:
        most = 0
        data = encode_animation(moving, drawn(), format)
        assert len(read(data).durations) == 30
        assert most <= 4


def gradient(height=90, width=120):
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 2, y * 2, 255 - x - y], axis=-1).astype(np.uint8)


def test_few_colours_are_exact():
    greys = np.random.default_rng(0).permutation(256).astype(np.uint8).reshape(16, 16)
    picture = np.repeat(greys[..., None], 3, axis=2)
    np.testing.assert_array_equal(
        decode(encode(Picture("p", picture), picture, "GIF")).rgb, picture
    )


@pytest.mark.parametrize("alpha", [False, True])
def test_255_colours_of_an_animation_are_exact(alpha):
    """Of all frames together, whatever lies under what is transparent."""
    random = np.random.default_rng(0)
    colours = random.permutation(1 << 24)[:255].astype(np.uint32).view(np.uint8)
    colours = colours.reshape(255, 4)[:, :3]
    frames = []
    for part in np.split(colours, 3):
        frame = np.full((10, 34, 3 + alpha), 255, np.uint8)
        frame[..., :3] = np.resize(part, (4, 85, 3)).reshape(10, 34, 3)
        if alpha:
            frame[:2, :, :3], frame[:2, :, 3] = random.integers(0, 256, (2, 34, 3)), 0
        frames.append(frame)
    for frame, expected in zip(shown(written(animation(frames), "GIF")), frames, strict=True):
        visible = frame[..., 3] > 0
        np.testing.assert_array_equal(visible, expected[..., 3] > 0 if alpha else True)
        np.testing.assert_array_equal(frame[visible][:, :3], expected[visible][:, :3])


def test_dither_stands_still_and_is_close():
    changed = gradient()
    changed[:20, :20] = 0
    first, again = (
        frame[..., :3].astype(int)
        for frame in shown(written(animation([gradient(), changed]), "GIF"))
    )
    assert np.abs(first - gradient()).mean() < 4
    np.testing.assert_array_equal(again[20:], first[20:])
    np.testing.assert_array_equal(again[:20, 20:], first[:20, 20:])
