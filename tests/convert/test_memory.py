import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toonbox.convert import job as module
from toonbox.convert.cartoonize import cartoonize_bytes
from toonbox.convert.job import (
    MIB,
    Converter,
    Job,
    Need,
    convert_all,
    in_words,
    machine_limit,
)
from toonbox.engine.style import load_style
from toonbox.errors import MissingExtraError, PictureError, UsageError
from toonbox.images import streaming
from toonbox.images.picture import Header, decode, read_header
from toonbox.options import OutputOptions, StyleOptions

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.usefixtures("unmeasured")
EXAMPLES = Path(__file__).parents[2] / "examples"


def within(style, limit, **options):
    return Converter(style, StyleOptions(**options), OutputOptions(max_memory=limit))


@pytest.fixture
def style(tiny_style):
    return load_style(tiny_style(), engine="onnxruntime", threads=1)


def header(width, height, format="JPEG", deep=False, transparent=False):
    return Header(width, height, format, deep, transparent)


def peak_of(*arguments):
    """Run the command in a process of its own; give its largest size in MiB, and what it said."""
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, done.returncode)\n"
        "print(done.stderr)"
    )
    line = [sys.executable, "-c", code, sys.executable, "-m", "toonbox", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    first, _, errors = done.stdout.partition("\n")
    peak, code = map(int, first.split())
    return peak / (1024 if sys.platform == "linux" else MIB), code, errors


def repeated(width, height):
    """An example enlarged, and repeated."""
    with Image.open(EXAMPLES / "boats.jpg") as opened:
        part = opened.resize((3000, 2250))
    whole = Image.new("RGB", (width, height))
    for top in range(0, height, 2250):
        for left in range(0, width, 3000):
            whole.paste(part, (left, top))
    return whole


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    repeated(12000, 9000).save(path, quality=92)
    return path


@pytest.mark.slow
def test_twelve_thousand_by_nine_thousand_stays_under_one_and_a_half_gigabytes(large, tmp_path):
    look = ("--strength", "0.5", "--texture", "1.5")  # takes more than the defaults
    peak, code, errors = peak_of(large, "-o", tmp_path / "out.jpg", *look)
    assert code == 0, errors
    assert peak < 1.5e9 / MIB


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["1400M", "600M"])
def test_the_command_keeps_to_the_limit(limit, large, tmp_path):
    pytest.importorskip("pyvips")
    peak, code, errors = peak_of(large, "-o", tmp_path / "out.jpg", "--max-memory", limit)
    assert code == 0, errors
    assert peak < int(limit[:-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "write"), [("jpg", "jpg"), ("png", "tif"), ("jpg", "webp"), ("tif", "png")]
)
def test_the_estimate_is_above_what_is_measured_and_not_far(read, write, tmp_path):
    source, target = tmp_path / f"photo.{read}", tmp_path / f"out.{write}"
    repeated(4000, 3000).save(source, compress_level=1)  # of PNG, which takes long otherwise
    peak, code, errors = peak_of(source, "-o", target, "--engine", "onnxruntime")
    assert code == 0, errors
    output = OutputOptions(max_memory=1 << 40)
    need = Converter(load_style(engine="onnxruntime"), None, output).estimate(Job(source, target))
    estimate = (module._PROCESS + need.own + need.network) / MIB
    # The estimate also covers networks of more channels than the default style's.
    assert peak < estimate < 2 * peak


def test_smaller_limits_mean_smaller_tiles(style):
    sides = [within(style, size * MIB).style.tile for size in (10000, 1200, 900, 500, 330)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 1024
    assert sides[-1] == 128
    with pytest.raises(UsageError, match="100M of memory are too little; at least 285M are needed"):
        within(style, 100 * MIB)


def test_what_does_not_fit_is_streamed_or_refused(style, monkeypatch):
    converter = within(style, 600 * MIB)
    assert not converter.need("a", header(4000, 3000), "JPEG").streamed
    monkeypatch.setattr(module, "can_stream", lambda: True)
    assert converter.need("a", header(12000, 9000), "JPEG").streamed
    with pytest.raises(PictureError, match=r"^a: .*still [\d.]+[MG] if streamed$"):
        within(style, 600 * MIB, resolution=5000).need("a", header(12000, 9000), "JPEG")
    monkeypatch.setattr(module, "can_stream", lambda: False)
    told = r"^a: needs about 1007M of memory, more than the 600M of --max-memory .*toonbox\[huge\]"
    with pytest.raises(MissingExtraError, match=told):
        converter.need("a", header(12000, 9000), "JPEG")


def test_more_channels_and_deeper_ones_take_more(style):
    converter = within(style, 1 << 40)
    kinds = [header(100, 100), header(100, 100, transparent=True), header(100, 100, deep=True)]
    kinds.append(header(100, 100, deep=True, transparent=True))
    sizes = [converter.need("a", kind, "PNG").own for kind in kinds]
    assert sizes == sorted(set(sizes))
    assert converter.need("a", kinds[0], "AVIF").own > sizes[-1]


def test_the_machine_has_a_limit():
    assert MIB * 100 < machine_limit() <= 1 << 60


def test_headers(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (30, 20)).save(path)
    assert read_header(path) == header(30, 20, "PNG", False, True)
    Image.new("I;16", (30, 20)).save(path)
    assert read_header(path) == header(30, 20, "PNG", True, False)
    path.write_bytes(b"text")
    with pytest.raises(PictureError, match="is text"):
        read_header(path)
    with pytest.raises(PictureError, match=r"limit of 99 pixels"):
        read_header(EXAMPLES / "boats.jpg", max_pixels=99)


def test_sizes_in_words():
    assert [in_words(size) for size in (1, MIB, 800 * MIB, 1536 * MIB)] == [
        "1M",
        "1M",
        "800M",
        "1.5G",
    ]


@pytest.fixture
def photos(tmp_path):
    """Six pictures of one size, each of its own colours."""
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        random = np.random.default_rng(number)
        rgb = random.integers(0, 256, (120, 150, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(paths[-1])
    return paths


def jobs(photos):
    return [Job(path, path.parent / "out" / path.name) for path in photos]


@pytest.mark.parametrize("room", [1, 2, 6])
def test_only_as_many_are_on_their_way_as_there_is_room_for(room, photos, style, monkeypatch):
    converter = within(style, 1 << 40)
    one = converter.need("a", header(150, 120, "PNG"), "PNG")
    converter.limit = module._PROCESS + room * one.own + one.network
    taken, told, most = 0, 0, 0

    def counted():
        nonlocal taken
        for job in jobs(photos):
            taken += 1
            yield job

    for outcome in convert_all(counted(), converter, parallel=3):
        assert outcome.status == "ok"
        most = max(most, taken - told)
        told += 1
    assert told == 6
    assert most <= room + 1  # one more has been looked at


def test_in_a_batch_large_ones_are_streamed_or_fail_alone(photos, style, monkeypatch):
    pytest.importorskip("pyvips")
    large = photos[2]
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (300, 500, 3), np.uint8)).save(large)
    needed = Converter.need

    def need(converter, name, header, format):
        if header.width == 500:
            return Need(1000, 1000, True)
        return needed(converter, name, header, format)

    monkeypatch.setattr(Converter, "need", need)
    outcomes = list(convert_all(jobs(photos), Converter(style), parallel=2))
    assert [outcome.status for outcome in outcomes] == ["ok"] * 6
    assert outcomes[2].size == (500, 300)
    np.testing.assert_array_equal(decode(outcomes[2].target).rgb, style(decode(large).rgb))
    monkeypatch.setattr(streaming, "can_stream", lambda: False)
    for outcome in outcomes:
        outcome.target.unlink()
    outcomes = list(convert_all(jobs(photos), Converter(style), parallel=2))
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "failed", "ok", "ok", "ok"]
    assert "toonbox[huge]" in str(outcomes[2].error)
    assert not outcomes[2].target.exists()


STREAMED = Need(streamed=True)


def streamed_and_whole(source, suffix, style, tmp_path, **options):
    one, other = tmp_path / f"one{suffix}", tmp_path / f"other{suffix}"
    converter = Converter(style, StyleOptions(**options))
    size = converter.convert(Job(source, one), STREAMED).size
    converter.convert(Job(source, other))
    pair = decode(one), decode(other)
    assert size == pair[0].rgb.shape[1::-1] == pair[1].rgb.shape[1::-1]
    assert pair[0].metadata == pair[1].metadata
    assert pair[0].icc_profile == pair[1].icc_profile
    return pair


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("look", [{}, {"strength": 0.4}, {"resolution": "native"}])
def test_a_streamed_picture_is_the_usual_one(suffix, look, style, tmp_path):
    pytest.importorskip("pyvips")
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    source = tmp_path / f"photo{suffix}"
    with Image.open(EXAMPLES / "boats.jpg") as opened:
        opened.save(source, exif=exif, dpi=(300, 300))
    one, other = streamed_and_whole(source, suffix, style, tmp_path, **look)
    assert one.rgb.shape == (683, 512, 3)
    np.testing.assert_array_equal(one.rgb, other.rgb)


def test_a_streamed_picture_keeps_its_transparency(style, tmp_path):
    pytest.importorskip("pyvips")
    source = tmp_path / "photo.png"
    random = np.random.default_rng(4)
    rgba = random.integers(0, 256, (300, 400, 4), dtype=np.uint8)
    rgba[..., 3] = np.where(rgba[..., 3] < 128, 0, rgba[..., 3])
    Image.fromarray(rgba).save(source)
    one, other = streamed_and_whole(source, ".png", style, tmp_path)
    np.testing.assert_array_equal(one.alpha, rgba[..., 3])
    np.testing.assert_array_equal(one.rgb, other.rgb)
    np.testing.assert_array_equal(one.rgb[one.alpha == 0], rgba[..., :3][one.alpha == 0])


@pytest.mark.slow
def test_five_thousand_by_four_thousand_streamed_is_that_in_memory(tmp_path):
    pytest.importorskip("pyvips")
    source = tmp_path / "photo.jpg"
    repeated(5000, 4000).save(source, quality=92)
    style = load_style(engine="onnxruntime")
    one, other = streamed_and_whole(source, ".jpg", style, tmp_path)
    for top in range(0, 4000, 500):
        strip = slice(top, top + 500)
        assert np.abs(one.rgb[strip].astype(np.int16) - other.rgb[strip]).max() <= 1


def test_half_a_streamed_picture_is_never_seen(style, tmp_path):
    pytest.importorskip("pyvips")
    source = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 256, (600, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save(source)
    source.write_bytes(source.read_bytes()[:300_000])
    with pytest.raises(PictureError, match="is damaged"):
        Converter(style).convert(Job(source, tmp_path / "out" / "a.png"), STREAMED)
    assert list((tmp_path / "out").iterdir()) == []
    assert re.fullmatch(r"photo\.png", next(tmp_path.glob("*.png")).name)


def test_what_must_be_in_memory_is_refused_if_it_is_too_large(style, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("1", (9000, 8000)).save(path)
    monkeypatch.setattr(module, "can_stream", lambda: True)
    with pytest.raises(PictureError, match="convert it from file to file"):
        cartoonize_bytes(path.read_bytes(), style=style, max_memory=500 * MIB)
    monkeypatch.setattr(module, "can_stream", lambda: False)
    with pytest.raises(MissingExtraError, match=r"needs about .* of memory"):
        cartoonize_bytes(path.read_bytes(), style=style, max_memory=500 * MIB)
