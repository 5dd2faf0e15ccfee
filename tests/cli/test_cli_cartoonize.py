import io
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from animation_files import animation_of, frames_of
from toonbox.engine.style import load_style
from toonbox.images.picture import decode


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path, format=None, size=(26, 20)):
    path.parent.mkdir(exist_ok=True)
    rgb = np.random.default_rng(len(path.name)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path, format)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_beside_the_photo(toonbox, here, style_folder):
    photo(here / "a.jpg")
    assert toonbox("a.jpg") == (0, "a.jpg -> a.toon.jpg\n", "")
    assert names(here) == ["a.jpg", "a.toon.jpg"]
    assert decode(here / "a.toon.jpg").format == "JPEG"


def test_same_as_with_the_commands_name(toonbox, here):
    photo(here / "a.png")
    toonbox("a.png")
    toonbox("cartoonize", "a.png", "-o", "b.png")
    assert (here / "a.toon.png").read_bytes() == (here / "b.png").read_bytes()


def test_options(toonbox, here, style_folder):
    source = photo(here / "a.png", size=(70, 40))
    rgb, style = decode(source).rgb, load_style(style_folder)
    for name, options, expected in [
        ("full", [], style(rgb)),
        ("photo", ["--strength", "0"], rgb),
        ("half", ["--strength", "0.5"], style(rgb, strength=0.5)),
        ("small", ["--resolution", "16"], style(rgb, resolution=16)),
        ("native", ["--resolution", "native"], style(rgb, resolution="native")),
        ("engine", ["--engine", "onnxruntime", "--threads", "1"], style(rgb)),
    ]:
        assert toonbox(*options, "a.png", "-o", f"{name}.png")[0] == 0
        difference = decode(here / f"{name}.png").rgb.astype(int) - expected
        assert np.abs(difference).max() <= 1, name


def test_knobs(toonbox, here, tiny_style, tmp_path_factory):
    knobs = ("surface", "structure", "texture")
    folder = tiny_style("knobbed", to=tmp_path_factory.mktemp("knobbed"), knobs=knobs)
    rgb, style = decode(photo(here / "a.png")).rgb, load_style(folder)
    options = ["--surface", "0", "--structure", "2", "--texture", "0.5"]
    assert toonbox(*options, "a.png", style=folder)[0] == 0
    expected = style(rgb, surface=0, structure=2, texture=0.5)
    np.testing.assert_array_equal(decode(here / "a.toon.png").rgb, expected)


@pytest.mark.parametrize("value", ["-1", "2.1", "much", "nan"])
def test_knob_out_of_range(value, toonbox, here):
    photo(here / "a.png")
    assert toonbox("a.png", "--texture", value)[0] == 2
    assert names(here) == ["a.png"]


def test_a_knob_the_style_does_not_have_stops_at_once(toonbox, here):
    photo(here / "a.png")
    photo(here / "b.png")
    code, output, errors = toonbox("a.png", "b.png", "--texture", "1")
    assert (code, output) == (2, "")
    assert errors == "toonbox: style tiny has no knob texture; its knobs: none\n"


@pytest.mark.parametrize("resolution", ["0", "-5", "1.5", "large"])
def test_resolution_that_is_none(resolution, toonbox):
    code, _, errors = toonbox("a.png", "--resolution", resolution)
    assert code == 2
    assert "'native'" in errors


def test_several_with_a_failure_among_them(toonbox, here):
    photo(here / "a.jpg")
    (here / "b.jpg").write_text("not a picture at all")
    photo(here / "c.png")
    code, output, errors = toonbox("a.jpg", "b.jpg", "c.png", "d.jpg")
    assert code == 1
    assert output.splitlines() == ["a.jpg -> a.toon.jpg", "c.png -> c.toon.png"]
    assert errors.splitlines() == [
        "toonbox: b.jpg: is text, not a picture",
        "toonbox: d.jpg: no such file",
        "2 done, 2 failed",
    ]


def test_several_without_a_failure(toonbox, here):
    photo(here / "a.jpg")
    photo(here / "b.jpg")
    code, _, errors = toonbox("a.jpg", "b.jpg")
    assert (code, errors) == (0, "2 done, 0 failed\n")


def test_refuses_to_overwrite(toonbox, here):
    photo(here / "a.png")
    photo(here / "b.png")
    (here / "a.toon.png").write_bytes(b"mine")
    code, output, errors = toonbox("a.png", "b.png")
    assert (code, output) == (1, "b.png -> b.toon.png\n")
    assert "toonbox: a.png: a.toon.png exists already; --force overwrites it\n" in errors
    assert (here / "a.toon.png").read_bytes() == b"mine"
    assert toonbox("--force", "a.png")[0] == 0
    assert decode(here / "a.toon.png").rgb.shape == (20, 26, 3)


def test_output_file(toonbox, here):
    photo(here / "a.jpg")
    assert toonbox("a.jpg", "-o", "cartoon.webp")[1] == "a.jpg -> cartoon.webp\n"
    assert decode(here / "cartoon.webp").format == "WEBP"


def test_output_file_without_a_suffix_keeps_the_format(toonbox, here):
    photo(here / "a.bmp")
    toonbox("a.bmp", "--output", "cartoon")
    assert decode(here / "cartoon").format == "BMP"


def test_output_format_that_is_not_written(toonbox, here):
    photo(here / "a.jpg")
    code, _, errors = toonbox("a.jpg", "-o", "cartoon.heic")
    assert code == 2
    assert "cannot write .heic, only .jpg" in errors
    assert names(here) == ["a.jpg"]


@pytest.mark.parametrize("exists", [True, False])
def test_output_folder(exists, toonbox, here):
    photo(here / "a.jpg")
    if exists:
        (here / "out").mkdir()
    assert toonbox("a.jpg", "-o", "out" if exists else "out/")[0] == 0
    assert names(here / "out") == ["a.toon.jpg"]


def test_several_into_a_new_folder(toonbox, here):
    photo(here / "a.jpg")
    photo(here / "b.png")
    assert toonbox("a.jpg", "b.png", "-o", "new/deep")[0] == 0
    assert names(here / "new" / "deep") == ["a.toon.jpg", "b.toon.png"]


def test_several_into_a_folder_that_looks_like_a_file(toonbox, here):
    photo(here / "a.jpg")
    photo(here / "b.jpg")
    (here / "set.png").mkdir()
    assert toonbox("a.jpg", "b.jpg", "-o", "set.png")[0] == 0
    assert names(here / "set.png") == ["a.toon.jpg", "b.toon.jpg"]


@pytest.mark.parametrize("output", ["out.png", "notes"])
def test_several_into_one_file_is_wrong_usage(output, toonbox, here):
    photo(here / "a.jpg")
    photo(here / "b.jpg")
    (here / "notes").write_text("mine")
    code, _, errors = toonbox("a.jpg", "b.jpg", "-o", output)
    assert code == 2
    assert f"{output} is one file, but there are several photos" in errors
    assert names(here) == ["a.jpg", "b.jpg", "notes"]


def test_folder_that_cannot_be_made(toonbox, here):
    photo(here / "a.jpg")
    (here / "notes").write_text("mine")
    code, _, errors = toonbox("a.jpg", "-o", "notes/")
    assert code == 1
    assert "toonbox: a.jpg: notes/a.toon.jpg cannot be written: " in errors


def test_two_photos_of_one_name(toonbox, here):
    photo(here / "x" / "a.jpg")
    photo(here / "y" / "a.jpg", size=(5, 5))
    code, output, errors = toonbox("x/a.jpg", "y/a.jpg", "-o", "out", "--force")
    assert (code, output) == (1, "x/a.jpg -> out/a.toon.jpg\n")
    assert "y/a.jpg: would be written to out/a.toon.jpg, which is taken by x/a.jpg" in errors
    assert decode(here / "out" / "a.toon.jpg").rgb.shape == (20, 26, 3)


def test_formats_that_are_not_written_become_png(toonbox, here):
    photo(here / "a.pcx")
    photo(here / "noname", "JPEG")
    assert toonbox("a.pcx", "noname")[0] == 0
    assert decode(here / "a.toon.png").format == "PNG"
    assert decode(here / "noname.toon.png").format == "PNG"


def test_pixel_limit(toonbox, here):
    photo(here / "a.jpg")
    code, _, errors = toonbox("a.jpg", "--max-pixels", "519")
    assert code == 1
    assert "toonbox: a.jpg: is larger than the limit of 519 pixels" in errors
    assert names(here) == ["a.jpg"]


def test_unknown_style(toonbox, here):
    photo(here / "a.jpg")
    code, output, errors = toonbox("a.jpg", style="no-such-style")
    assert (code, output) == (1, "")
    assert errors.startswith("toonbox: ")
    assert "no-such-style" in errors
    assert errors.count("\n") == 1


def test_names_of_styles_complete(style_folder, monkeypatch):
    from toonbox.cli.options import style_names
    from toonbox.engine.style import read_card

    monkeypatch.setenv("TOONBOX_STYLES", str(style_folder.parent))
    assert read_card(style_folder).name in style_names()


def test_bad_pictures_of_every_kind(toonbox, here):
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(
        good, "JPEG"
    )
    bad = {
        "cut.jpg": good.getvalue()[:-300],
        "empty.jpg": b"",
        "noise.jpg": bytes(range(128, 256)),
        "text.jpg": b"hello",
    }
    for name, data in bad.items():
        (here / name).write_bytes(data)
    code, output, errors = toonbox(*bad)
    assert (code, output) == (1, "")
    assert errors.splitlines() == [
        "toonbox: cut.jpg: ends before the picture is complete",
        "toonbox: empty.jpg: is empty",
        "toonbox: noise.jpg: is not a picture",
        "toonbox: text.jpg: is text, not a picture",
        "0 done, 4 failed",
    ]
    assert names(here) == sorted(bad)


def on_a_terminal(*command, **options):
    """Run a command; give what it writes to standard output, and to a terminal as errors."""
    ours, theirs = pty.openpty()
    run = subprocess.run(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        **options,
    )
    os.write(theirs, b"\n")  # so that there is something to read
    os.close(theirs)
    shown = os.read(ours, 100_000).decode(errors="replace")  # may be cut off
    os.close(ours)
    assert run.returncode == 0, shown
    return run.stdout, shown


def test_progress_bar_on_a_terminal_only(here, style_folder):
    for name in "ab":
        photo(here / f"{name}.png")
    command = ["-m", "toonbox", "a.png", "b.png", "--style", str(style_folder)]
    output, shown = on_a_terminal(*command)
    assert output == b"a.png -> a.toon.png\nb.png -> b.toon.png\n"
    assert "Cartoonizing" in shown
    assert "2/2" in shown


@pytest.mark.parametrize("long", ["-1", "1e9"], ids=["long", "short"])
@pytest.mark.parametrize("door", ["one", "several", "pipe"])
def test_an_animation_that_takes_long_gets_a_bar(door, long, here, style_folder):
    (here / "[a]\x1b.gif").write_bytes(animation_of(frames_of(4), "GIF"))
    photo(here / "b.png")
    photos = {"one": ["[a]\x1b.gif"], "several": ["."], "pipe": ["-"]}[door]
    start = f"from toonbox.cli import main, terminal; terminal.LONG = {long}; main.main()"
    options = {"input": (here / "[a]\x1b.gif").read_bytes()} if door == "pipe" else {}
    _, shown = on_a_terminal("-c", start, *photos, "--style", str(style_folder), **options)
    name = "standard input" if door == "pipe" else r"[a]\x1b.gif"
    assert (name in shown.replace(f"toonbox: {name}", "")) == ("1/4" in shown) == (long == "-1")
    assert ("Cartoonizing" in shown) == (door == "several")


FORMATS = ("jpg", "png", "webp", "avif", "tif", "bmp", "gif", "ppm")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_into_every_other(kind, toonbox, here):
    photo(here / f"a.{kind}")
    for name in FORMATS:
        code, output, errors = toonbox(f"a.{kind}", "--format", name, "-o", f"{name}/")
        assert (code, output, errors) == (0, f"a.{kind} -> {name}/a.toon.{name}\n", "")
        written = Image.open(here / name / f"a.toon.{name}")
        assert written.format == Image.registered_extensions()[f".{name}"]
        assert written.size == (26, 20)


def test_heic_becomes_jpeg_with_a_message(toonbox, here):
    pytest.importorskip("pi_heif", reason="the extra heic is not installed")
    pillow_heif = pytest.importorskip("pillow_heif", reason="nothing here writes HEIC")
    (here / "album").mkdir()
    source = Image.open(photo(here / "a.png"))
    pillow_heif.from_pillow(source).save(str(here / "album" / "a.heic"))
    code, output, errors = toonbox("album")
    assert (code, output) == (0, "album/a.heic -> album/a.heic.toon.jpg\n")
    assert "toonbox: album/a.heic: HEIC cannot be written; it becomes JPEG\n" in errors
    assert decode(here / "album" / "a.heic.toon.jpg").format == "JPEG"
    assert toonbox("album/a.heic", "--format", "png")[2] == ""
    assert decode(here / "album" / "a.toon.png").format == "PNG"


def test_format_of_an_output_file(toonbox, here):
    photo(here / "a.jpg")
    assert toonbox("a.jpg", "-o", "cartoon", "--format", "webp")[0] == 0
    assert decode(here / "cartoon").format == "WEBP"
    assert toonbox("a.jpg", "-o", "cartoon.tiff", "--format", "tif")[0] == 0
    code, _, errors = toonbox("a.jpg", "-o", "cartoon.png", "--format", "webp")
    assert code == 2
    assert "cartoon.png does not match --format webp" in errors
    assert names(here) == ["a.jpg", "cartoon", "cartoon.tiff"]


def test_format_that_cannot_be_written(toonbox, here):
    photo(here / "a.jpg")
    for output in ([], ["-o", "cartoon"]):
        code, _, errors = toonbox("a.jpg", "--format", "heic", *output)
        assert code == 2
        assert "cannot write heic, only apng avif" in errors
    assert names(here) == ["a.jpg"]


def test_quality_and_lossless(toonbox, here):
    photo(here / "a.png")
    for name, options in [("fine", ["--quality", "95"]), ("coarse", ["--quality", "20"])]:
        assert toonbox("a.png", "-o", f"{name}.webp", *options)[0] == 0
    assert (here / "coarse.webp").stat().st_size < (here / "fine.webp").stat().st_size / 1.5
    toonbox("a.png", "-o", "b.png")
    assert toonbox("a.png", "-o", "exact.webp", "--lossless")[0] == 0
    exact = np.array(Image.open(here / "exact.webp"))
    np.testing.assert_array_equal(exact, np.array(Image.open(here / "b.png")))
    code, _, errors = toonbox("a.png", "-o", "c.jpg", "--lossless")
    assert code == 1
    assert (
        errors
        == "toonbox: a.png: JPEG is never lossless; --format can be png, tiff, webp, bmp, ppm\n"
    )
    assert toonbox("a.png", "--quality", "0")[0] == 2
    assert "c.jpg" not in names(here)


def test_metadata(toonbox, here):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (9, 9)).save(here / "a.jpg", exif=exif)
    for keep, (maker, place) in {
        "keep": (True, True),
        "no-gps": (True, False),
        "strip": (False, False),
    }.items():
        assert toonbox("a.jpg", "--metadata", keep, "-o", f"{keep}.jpg")[0] == 0
        written = Image.open(here / f"{keep}.jpg").getexif()
        assert (0x010F in written, bool(written.get_ifd(0x8825))) == (maker, place)
    assert toonbox("a.jpg", "--metadata", "some")[0] == 2


@pytest.mark.parametrize(
    ("size", "least"), [("2G", None), ("1.5gib", None), ("90M", "90M of memory")]
)
def test_a_limit_of_memory(toonbox, here, size, least):
    photo(here / "a.png")
    code, _, errors = toonbox("a.png", "--max-memory", size)
    assert code == (2 if least else 0), errors
    assert (least or "") in errors
    assert (here / "a.toon.png").exists() == (least is None)


@pytest.mark.parametrize("size", ["lots", "-1G", "0", "1.5X", "1G2", ""])
def test_a_limit_that_is_no_size(toonbox, here, size):
    photo(here / "a.png")
    code, _, errors = toonbox("a.png", "--max-memory", size)
    assert code == 2
    assert "is not a size such as 800M or 1.5G" in " ".join(errors.split())


def test_what_needs_more_memory_is_refused_with_advice(toonbox, here, monkeypatch):
    monkeypatch.setattr("toonbox.convert.job.can_stream", lambda: False)
    Image.new("1", (9000, 8000)).save(here / "a.png")
    code, _, errors = toonbox("a.png", "--max-memory", "500M")
    assert code == 1
    assert "a.png: needs about " in errors
    assert "more than the 500M of --max-memory" in errors
    assert "pip install 'toonbox[huge]'" in errors
