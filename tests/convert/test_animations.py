"""Animations through every door: files, many files, bytes, Pillow images, pipes."""

import io
import itertools
import logging
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from animation_files import animation_of, frames_of, gif_facts
from stub_style import StubStyle
from toonbox.cli.main import main
from toonbox.convert.cartoonize import cartoonize, cartoonize_bytes, cartoonize_file
from toonbox.convert.job import Converter, Job, convert_all
from toonbox.engine.style import load_style
from toonbox.errors import OutputError, PictureError
from toonbox.images.animation import Animation
from toonbox.images.animation import read_animation as read
from toonbox.images.picture import decode

TIMES = [40, 50, 1000, 30]
FORMATS = {"gif": "GIF", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}


@pytest.fixture
def folder(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"), knobs=("texture",))


@pytest.fixture
def style(folder):
    return load_style(folder)


def wave(format, frames=None, **options):
    frames = frames_of(4) if frames is None else frames
    return animation_of(frames, format, duration=TIMES[: len(frames)], loop=0, **options)


def expect(data, style, frames, **look):
    """Check that these are cartoons of the frames."""
    result = read(data)
    assert isinstance(result, Animation)
    for frame, photo in zip(result.frames(), frames, strict=True):
        difference = np.abs(frame.rgb.astype(int) - style(photo, **look))
        most = {"PNG": 0, "WEBP": 0, "GIF": 2.5, "AVIF": 4}
        assert difference.mean() <= most[result.format]
    return result


def test_all_frames_are_drawn_at_one_size(tiny_style, tmp_path):
    style = load_style(tiny_style("fine", detail_resolution=96))
    smooth = np.full((200, 240, 3), 90, np.uint8)
    y, x = np.mgrid[:200, :240] // 4
    detailed = np.where((x + y)[..., None] % 2, smooth, 255).astype(np.uint8)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    source.write_bytes(wave("PNG", [smooth, detailed]))
    cartoonize_file(source, target, style=style)
    expect(target.read_bytes(), style, [smooth, detailed], resolution=64)
    assert (style(detailed) != style(detailed, resolution=64)).any()


@pytest.mark.parametrize("suffix", FORMATS)
def test_from_disk_to_disk(suffix, tmp_path, style):
    options = {"quality": 100, "subsampling": "4:4:4"} if suffix == "avif" else {"lossless": True}
    source, target = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    source.write_bytes(wave(FORMATS[suffix], **options))
    look = {"texture": 2.0, "strength": 0.8, "resolution": 24}
    lossless = suffix in ("png", "webp")
    cartoonize_file(source, target, style=style, lossless=lossless, **look)
    result = expect(target.read_bytes(), style, frames_of(4), **look)
    assert (result.format, result.durations, result.plays) == (FORMATS[suffix], tuple(TIMES), 0)


def test_another_format_keeps_it_moving(tmp_path, style):
    (tmp_path / "a.gif").write_bytes(wave("GIF"))
    cartoonize_file(tmp_path / "a.gif", tmp_path / "b.png", style=style, lossless=True)
    result = read(tmp_path / "b.png")
    assert result.durations == tuple(TIMES)
    for frame, photo in zip(result.frames(), frames_of(4), strict=True):
        np.testing.assert_array_equal(frame.rgb, style(photo))


def test_a_format_without_animations_gets_the_first_frame(tmp_path, style, caplog):
    (tmp_path / "a.gif").write_bytes(wave("GIF"))
    for suffix in ("jpg", "tif", "bmp", "ppm"):
        caplog.clear()
        target = tmp_path / f"a.{suffix}"
        cartoonize_file(tmp_path / "a.gif", target, style=style)
        picture = read(target)
        assert picture.size == (48, 32)
        assert np.abs(picture.rgb.astype(int) - style(frames_of(1)[0])).mean() < 3
        assert "has more than one frame or page; only the first is used" in caplog.text


def test_equal_frames_are_drawn_once(style):
    frames = frames_of(2)
    frames = [frames[0], frames[0], frames[1], frames[0]]
    data = animation_of(frames, "AVIF", duration=50, quality=100, subsampling="4:4:4")
    same = [np.array_equal(a.rgb, b.rgb) for a, b in pairs_of(read(data))]
    seen = []

    def noting(photo):
        seen.append(photo)
        return style(photo)

    result = read(cartoonize_bytes(data, style=StubStyle(style, noting), format="png"))
    assert len(result.durations) == 4
    assert len(seen) == 4 - sum(same)
    assert any(same)


def pairs_of(animation):
    frames = list(animation.frames())
    return itertools.pairwise(frames)


def test_transparent_frames(style):
    frames = frames_of(4, alpha=True)
    result = read(cartoonize_bytes(wave("PNG", frames), style=style))
    for frame, expected in zip(result.frames(), frames, strict=True):
        np.testing.assert_array_equal(frame.alpha, expected[..., 3])
        visible = frame.alpha > 0
        cartoon = style(np.ascontiguousarray(expected[..., :3]))
        np.testing.assert_array_equal(frame.rgb[visible], cartoon[visible])


def test_bytes_give_bytes_and_one_image_has_one_frame(style, caplog):
    data = wave("GIF")
    expect(cartoonize_bytes(data, style=style), style, frames_of(4))
    still = decode(cartoonize_bytes(data, style=style, format="jpeg"))
    assert still.format == "JPEG"
    opened = Image.open(io.BytesIO(data))
    opened.seek(2)
    image = cartoonize(opened, style=style)
    np.testing.assert_array_equal(np.asarray(image), style(frames_of(3)[2]))
    assert "only one of them is used" in caplog.text


def test_metadata_stay_or_go(style):
    exif = Image.Exif()
    exif[0x013B] = "Ada"
    data = wave("WEBP", exif=exif)
    kept = Image.open(io.BytesIO(cartoonize_bytes(data, style=style)))
    assert kept.getexif()[0x013B] == "Ada"
    stripped = Image.open(io.BytesIO(cartoonize_bytes(data, style=style, metadata="strip")))
    assert len(stripped.getexif()) == 0
    assert stripped.n_frames == 4


def test_lossless_is_refused_before_the_work(tmp_path, style):
    (tmp_path / "a.gif").write_bytes(wave("GIF"))
    with pytest.raises(OutputError, match="GIF is never lossless"):
        cartoonize_file(tmp_path / "a.gif", tmp_path / "b.gif", style=style, lossless=True)


def test_nothing_is_left_of_a_damaged_one(tmp_path, style):
    data = wave("GIF")
    (tmp_path / "a.gif").write_bytes(data[: len(data) * 2 // 3])

    def never(*_, **__):
        raise AssertionError("the network has begun")

    with pytest.raises(PictureError, match=r"a.gif: ends before the picture is complete"):
        cartoonize_file(tmp_path / "a.gif", tmp_path / "b.gif", style=StubStyle(style, never))
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_many_files_with_an_animation_among_them(tmp_path, style):
    (tmp_path / "a.gif").write_bytes(wave("GIF"))
    Image.fromarray(frames_of(1)[0]).save(tmp_path / "b.png")
    (tmp_path / "c.webp").write_bytes(wave("WEBP")[:-9])
    jobs = [Job(path, tmp_path / "out" / path.name) for path in sorted(tmp_path.glob("?.*"))]
    outcomes = list(convert_all(jobs, Converter(style), parallel=2))
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "failed"]
    assert [outcome.size for outcome in outcomes] == [(48, 32), (48, 32), None]
    expect((tmp_path / "out" / "a.gif").read_bytes(), style, frames_of(4))


def test_command_line(tmp_path, monkeypatch, folder, style, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.gif").write_bytes(wave("GIF"))
    for arguments, name in (
        (["clip.gif"], "clip.toon.gif"),
        (["clip.gif", "--format", "webp", "--quality", "90"], "clip.toon.webp"),
        (["clip.gif", "-o", "out.png"], "out.png"),
    ):
        with pytest.raises(SystemExit) as exit:
            main([*arguments, "--style", str(folder)])
        assert not exit.value.code
        assert capsys.readouterr().out == f"clip.gif -> {name}\n"
        assert read(tmp_path / name).durations == tuple(map(Fraction, TIMES))
    with pytest.raises(SystemExit) as exit:
        main(["clip.gif", "--force", "--max-pixels", "6000", "--style", str(folder)])
    assert exit.value.code == 1
    assert "has 4 frames of 48 x 32, together more than" in capsys.readouterr().err


def test_pipe(folder, style):
    command = [sys.executable, "-m", "toonbox", "-", "--style", str(folder)]
    run = subprocess.run(command, input=wave("GIF"), capture_output=True, timeout=3600)
    assert (run.returncode, run.stderr) == (0, b"")
    expect(run.stdout, style, frames_of(4))


@pytest.mark.slow
def test_the_shipped_style(caplog):
    """A pan over a real gradient: nothing flickers where nothing moves."""
    y, x = np.mgrid[0:120, 0:160]
    photo = np.stack([x, y * 2, 255 - x], axis=-1).astype(np.uint8)
    frames = []
    for number in range(4):
        frame = photo.copy()
        frame[100:116, 8 + 16 * number : 24 + 16 * number] = (250, 240, 20)
        frames.append(frame)
    data = animation_of(frames, "PNG", duration=TIMES, loop=0)
    style = load_style("comic", threads=2)
    with caplog.at_level(logging.WARNING):
        drawn = cartoonize_bytes(data, style=style, format="gif")
    assert caplog.text == ""
    assert [delay for _, delay, *_ in gif_facts(drawn)[1]] == [4, 5, 100, 3]
    shown = [frame.rgb.astype(int) for frame in read(drawn).frames()]
    for frame, source in zip(shown, frames, strict=True):
        assert np.abs(frame - style(source)).mean() < 5  # 255 colours for all frames
    still = np.abs(shown[0] - shown[1])[:24].max(axis=2)  # far from what moves
    cartoons = [style(frame).astype(int) for frame in frames[:2]]
    moved = np.abs(cartoons[0] - cartoons[1])[:24].max(axis=2)
    assert (still[moved == 0] == 0).all()
