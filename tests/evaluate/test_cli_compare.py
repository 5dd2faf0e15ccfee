import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from toonbox.cli.main import main
from toonbox.engine.style import load_style
from toonbox.images.picture import decode

KNOBS = ("surface", "structure", "texture")


@pytest.fixture
def styles(tiny_style, tmp_path_factory, monkeypatch):
    """Make the only two styles there are: plain, and one with knobs."""
    folder = tmp_path_factory.mktemp("styles")
    monkeypatch.setattr("toonbox.engine.style.SHIPPED", folder / "none")
    monkeypatch.setenv("TOONBOX_STYLES", str(folder))
    tiny_style("knobbed", seed=2, to=folder, knobs=KNOBS)
    tiny_style("plain", to=folder)
    return folder


@pytest.fixture
def compare(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main(["compare", *map(str, arguments)])
        return exit.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path, size=(60, 40)):
    path.parent.mkdir(exist_ok=True)
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    rgb = np.stack([127 + 90 * np.sin(x / 15), 127 + 90 * np.cos(y / 11), 2 * x + y], axis=2)
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    return path


def heads(page):
    text = page.read_text(encoding="utf-8")
    return [piece.split("</th>")[0] for piece in text.split('<th scope="col">')[1:]]


def test_every_style_by_default(compare, here, styles):
    photo(here / "a.png")
    code, output, errors = compare("a.png")
    assert (code, errors) == (0, "")
    assert output == "comparison/index.html\ncomparison/comparison.png\n"
    assert heads(here / "comparison" / "index.html") == ["photo", "knobbed", "plain"]
    rgb = decode(here / "a.png").rgb
    for place, name in enumerate(("knobbed", "plain"), 1):
        found = decode(here / "comparison" / "pictures" / f"1-style-{place}.jpg").rgb
        assert np.abs(found.astype(int) - load_style(name)(rgb)).mean() < 3


def test_settings_of_a_column_go_before_those_of_all(compare, here, styles):
    photo(here / "a.png")
    columns = [
        "knobbed",
        "knobbed:texture=2,surface=0",
        f"{styles}/plain:strength=1,resolution=native",
    ]
    options = [word for column in columns for word in ("--style", column)]
    code, _, errors = compare(
        "a.png", *options, "--strength", 0.5, "--resolution", 16, "--out", "x"
    )
    assert (code, errors) == (0, "")
    assert heads(here / "x" / "index.html") == ["photo", *columns]
    rgb, knobbed = decode(here / "a.png").rgb, load_style("knobbed")
    expected = [
        knobbed(rgb, strength=0.5, resolution=16),
        knobbed(rgb, strength=0.5, resolution=16, texture=2, surface=0),
        load_style("plain")(rgb, resolution="native"),
    ]
    for place in (1, 2, 3):
        found = decode(here / "x" / "pictures" / f"1-style-{place}.jpg").rgb
        errors = [np.abs(found.astype(int) - other).mean() for other in expected]
        assert np.argmin(errors) == place - 1
        assert errors[place - 1] < 3


@pytest.mark.parametrize(
    ("style", "reason"),
    [
        ("plain:colour=1", "no setting 'colour'"),
        ("plain:strength=much", "strength should be a number"),
        ("plain:strength=", "strength should be a number"),
        ("plain:resolution=large", "'native'"),
        ("plain:strength=2", "strength must be from 0 to 1"),
        ("plain:texture=1", "plain has no knob texture"),
        ("knobbed:texture=nan", "texture must be from 0 to 2"),
        ("knobbed:texture=1,", "no setting ''"),
    ],
)
def test_settings_that_cannot_be(style, reason, compare, here, styles):
    photo(here / "a.png")
    code, output, errors = compare("a.png", "--style", style)
    assert (code, output) == (2, "")
    assert reason in errors
    assert not (here / "comparison").exists()


@pytest.mark.parametrize("style", ["", "none", "plain:texture", "C:\\styles\\plain"])
def test_a_style_that_is_not_there(style, compare, here, styles):
    photo(here / "a.png")
    code, _, errors = compare("a.png", "--style", style)
    assert code == 1
    assert f"no style {style!r}; available: knobbed, plain" in errors


def test_no_styles_at_all(compare, here, monkeypatch, tmp_path):
    monkeypatch.setattr("toonbox.engine.style.SHIPPED", tmp_path / "none")
    monkeypatch.setenv("TOONBOX_STYLES", str(tmp_path / "none"))
    assert compare("a.png") == (1, "", "toonbox: there are no styles\n")


def test_a_failure_is_named_and_the_rest_goes_on(compare, here, styles):
    photo(here / "album" / "a.png")
    (here / "album" / "b.png").write_text("no picture")
    photo(here / "album" / "c.png", size=(41, 41))
    code, output, errors = compare("album", "none.jpg", "--style", "plain")
    assert code == 1
    assert output == "comparison/index.html\ncomparison/comparison.png\n"
    assert errors.splitlines() == [
        "toonbox: album/b.png: is text, not a picture",
        "toonbox: none.jpg: no such file",
        "2 done, 2 failed",
    ]
    page = (here / "comparison" / "index.html").read_text(encoding="utf-8")
    assert "a.png, 60 × 40" in page
    assert "c.png, 41 × 41" in page
    assert "b.png" not in page


def test_a_path_that_cannot_be_looked_up_is_one_failure(compare, here, styles):
    name = "x" * 300
    code, output, errors = compare(name, photo(here / "a.png").name, "--style", "plain")
    assert (code, len(output.splitlines())) == (1, 2)
    assert errors == f"toonbox: {name}: cannot be read: File name too long\n1 done, 1 failed\n"
    code, _, errors = compare("a.png", "--style", "plain", "--out", name)
    assert code == 1
    assert "cannot be written: File name too long" in errors


def test_nothing_is_written_if_all_fail(compare, here, styles):
    photo(here / "a.png")
    code, output, errors = compare("a.png", "--max-pixels", 2399)
    assert (code, output) == (1, "")
    assert errors.startswith("toonbox: a.png: is larger than the limit")
    assert not (here / "comparison").exists()


def test_a_comparison_is_overwritten_only_with_force(compare, here, styles):
    photo(here / "a.png")
    assert compare("a.png", "--style", "plain")[0] == 0
    code, _, errors = compare("a.png", "--style", "knobbed")
    assert (code, errors) == (
        1,
        "toonbox: comparison is not empty; --force overwrites what is there\n",
    )
    assert heads(here / "comparison" / "index.html") == ["photo", "plain"]
    assert compare("a.png", "--style", "knobbed", "--force")[0] == 0
    assert heads(here / "comparison" / "index.html") == ["photo", "knobbed"]


def test_height_of_the_cells(compare, here, styles):
    photo(here / "a.png", size=(300, 200))
    heights = []
    for height in (100, 50):
        assert compare("a.png", "--height", height, "--out", height)[0] == 0
        heights.append(Image.open(here / str(height) / "comparison.png").height)
    assert heights[0] - heights[1] == 50


def test_progress_bar_on_a_terminal(here, styles):
    photo(here / "a.png")
    ours, theirs = pty.openpty()
    shipped = [word for name in ("plain", "knobbed") for word in ("--style", str(styles / name))]
    run = subprocess.run(
        [sys.executable, "-m", "toonbox", "compare", "a.png", *shipped],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert run.returncode == 0
    assert "2/2" in shown


# Blind pairs


@pytest.fixture
def album(here):
    y, x = np.mgrid[0:64, 0:96]
    (here / "album").mkdir()
    for name, red in (("a", 50), ("b", 120), ("c", 200)):
        rgb = np.stack([red + 0 * x, 127 + 90 * np.cos(y / 21), 2 * x], axis=2)
        Image.fromarray(rgb.astype(np.uint8)).save(here / "album" / f"{name}.png")
    return here / "album"


@pytest.fixture
def knobbed(tiny_style, here):
    return tiny_style("knobbed", seed=2, knobs=KNOBS)


def test_pairs_of_settings_are_made_judged_and_counted(compare, album, knobbed, here):
    labels = [f"{knobbed}:texture=0", f"{knobbed}:texture=2"]
    code, output, errors = compare("--blind", *labels, album, "-o", "pairs")
    assert (code, errors) == (0, "3 done, 0 failed\n")
    key_file = here / "pairs.key.json"
    assert output == f"pairs/index.html\n{key_file}\n"
    key = json.loads(key_file.read_text())
    assert key["contenders"] == labels
    style = load_style(knobbed)
    for number, pair in key["pairs"].items():
        rgb = decode(album / pair["photo"]).rgb
        expected = {label: style(rgb, texture=float(label[-1])) for label in labels}
        for side in ("left", "right"):
            found = decode(here / "pairs" / "pictures" / f"{number}-{side}.jpg").rgb
            far = {label: np.abs(found - picture.astype(int)).mean()
                   for label, picture in expected.items()}  # fmt: skip
            assert min(far, key=far.get) == pair[side]
    (here / "one.txt").write_text("".join(
        f"{number} {'left' if pair['left'] == labels[1] else 'right'}\n"
        for number, pair in key["pairs"].items()
    ))  # fmt: skip
    other = {"id": key["id"], "answers": {"01": "same"}}
    (here / "two.json").write_text(json.dumps(other))
    code, output, errors = compare(
        "--tally", "one.txt", "two.json", "--key", key_file.name, "--list"
    )
    assert (code, errors) == (0, "")
    names = [key["pairs"][number]["photo"] for number in ("01", "02", "03")]
    assert output.splitlines() == [
        *(f"one.txt\t0{n}\t{name}\t{labels[1]}" for n, name in enumerate(names, 1)),
        f"two.json\t01\t{names[0]}\tsame",
        f"{labels[0]}    0 of 3    0 % [0, 56]",
        f"{labels[1]}    3 of 3  100 % [44, 100]",
        f"{'same':{len(labels[0])}}    1",
        "2 not answered",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8")
def test_photos_whose_names_are_no_utf8(compare, knobbed, here):
    name = photo(here / os.fsdecode(b"caf\xe9.png")).name
    styles = [str(knobbed), f"{knobbed}:texture=2"]
    assert compare(name, "--style", styles[0])[0] == 0
    assert "caf\\udce9.png, 60 × 40" in (here / "comparison" / "index.html").read_text("utf-8")
    assert compare("--blind", *styles, name, "-o", "pairs")[0] == 0
    key = json.loads((here / "pairs.key.json").read_text("utf-8"))
    assert key["pairs"]["01"]["photo"] == name


def test_a_folder_of_pictures_takes_the_place_of_a_style(compare, album, knobbed, here):
    (here / "finished").mkdir()
    for name in "ab":
        Image.new("RGB", (96, 64), "red").save(here / "finished" / f"{name}.toon.png")
    code, _, errors = compare("--blind", knobbed, "finished", album, "-o", "pairs", "--limit", 1)
    assert (code, errors) == (0, "toonbox: skipped photos without a picture in finished: 1\n")
    assert len(json.loads((here / "pairs.key.json").read_text())["pairs"]) == 1
    code, _, errors = compare(album, "--style", "finished", "--out", "grid")
    assert code == 1
    assert "c.png: finished has no picture of that name" in errors
    Image.new("RGB", (192, 128), "red").save(here / "finished" / "a.toon.png")
    code, _, errors = compare(album, "--style", "finished", "-o", "few", "--max-pixels", 96 * 64)
    assert code == 1
    assert "a.toon.png: is larger than the limit of 6,144 pixels" in errors
    shown = decode(here / "grid" / "pictures" / "2-style-1.jpg").rgb
    assert np.abs(shown - np.array([255, 0, 0])).max() < 5


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--blind", "{style}", "{style}", "album"], 2, "knobbed with itself"),
        (["--blind", "{style}", "album:texture=1", "album"], 2, "takes no settings"),
        (["--blind", "{style}", "{style}:texture=3", "album"], 2, "texture must be from 0 to 2"),
        (["--blind", "{style}", "none", "album"], 1, "no style 'none'"),
        (["--blind", "{style}", "", "album"], 1, "no style ''"),
        (["--blind", "{style}", "album", "--style", "{style}", "album"], 2, "without --style"),
        (["--blind", "{style}", "album"], 2, "which photos?"),
        ([], 2, "which photos?"),
        (["--limit", "2", "album"], 2, "--limit is for --blind"),
        (["--list", "album"], 2, "--list are for --tally"),
        (["--key", "a.json", "album"], 2, "--key and --list are for --tally"),
        (["--tally", "a.json"], 2, "--key"),
        (["--tally", "--key", "a.json"], 2, "--tally takes files"),
        (["--tally", "a.json", "--key", "none.json"], 1, "none.json: No such file"),
        (["--tally", "a.json", "--key", "k.json", "--seed", "7"], 2, "takes only --key and --list"),
        (["--tally", "a.json", "--key", "k.json", "-o", "x"], 2, "takes only --key and --list"),
    ],
)
def test_what_cannot_be(arguments, code, reason, compare, album, knobbed, here):
    words = [word.format(style=knobbed) for word in arguments]
    found, output, errors = compare(*words)
    assert (found, output) == (code, "")
    assert re.sub(r"\s+", " ", errors).startswith("toonbox: ")
    assert reason in errors
    assert not (here / "comparison").exists()
