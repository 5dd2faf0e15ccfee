import json
import re

import numpy as np
import pytest
from PIL import Image

from toonbox.cli.main import main
from toonbox.engine.style import load_style
from toonbox.images.picture import decode


@pytest.fixture
def compare(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main(["compare", *map(str, arguments)])
        return exit.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def album(tmp_path):
    y, x = np.mgrid[0:64, 0:96]
    (tmp_path / "album").mkdir()
    for name, red in (("a", 50), ("b", 120), ("c", 200)):
        rgb = np.stack([red + 0 * x, 127 + 90 * np.cos(y / 21), 2 * x], axis=2)
        Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "album" / f"{name}.png")
    return tmp_path / "album"


@pytest.fixture
def knobbed(tiny_style, tmp_path):
    return tiny_style("knobbed", seed=2, knobs=("surface", "structure", "texture"))


def test_pairs_of_settings_are_made_judged_and_counted(compare, album, knobbed, tmp_path):
    labels = [f"{knobbed}:texture=0", f"{knobbed}:texture=2"]
    code, output, errors = compare("--blind", *labels, "--photos", album, "-o", "pairs")
    assert (code, errors) == (0, "3 done, 0 failed\n")
    key_file = tmp_path / "pairs.key.json"
    assert output == f"pairs/index.html\n{key_file}\n"
    key = json.loads(key_file.read_text())
    assert key["contenders"] == labels
    style = load_style(knobbed)
    for number, pair in key["pairs"].items():
        rgb = decode(album / pair["photo"]).rgb
        expected = {label: style(rgb, texture=float(label[-1])) for label in labels}
        for side in ("left", "right"):
            found = decode(tmp_path / "pairs" / "pictures" / f"{number}-{side}.jpg").rgb
            far = {label: np.abs(found - picture.astype(int)).mean()
                   for label, picture in expected.items()}  # fmt: skip
            assert min(far, key=far.get) == pair[side]
    (tmp_path / "one.txt").write_text("".join(
        f"{number} {'left' if pair['left'] == labels[1] else 'right'}\n"
        for number, pair in key["pairs"].items()
    ))  # fmt: skip
    other = {"id": key["id"], "answers": {"01": "same"}}
    (tmp_path / "two.json").write_text(json.dumps(other))
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


def test_a_folder_of_pictures_takes_the_place_of_a_style(compare, album, knobbed, tmp_path):
    (tmp_path / "finished").mkdir()
    for name in "ab":
        Image.new("RGB", (96, 64), "red").save(tmp_path / "finished" / f"{name}.toon.png")
    code, _, errors = compare("--blind", knobbed, "finished", album, "-o", "pairs", "--limit", 1)
    assert (code, errors) == (0, "toonbox: photos left out that have no picture in finished: 1\n")
    assert len(json.loads((tmp_path / "pairs.key.json").read_text())["pairs"]) == 1
    code, _, errors = compare(album, "--style", "finished", "--out", "grid")
    assert code == 1
    assert "c.png: finished has no picture of that name" in errors
    shown = decode(tmp_path / "grid" / "pictures" / "2-style-1.jpg").rgb
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
        (["--tally", "a.json"], 2, "--key"),
        (["--tally", "--key", "a.json"], 2, "--tally takes files"),
        (["--tally", "a.json", "--key", "none.json"], 1, "none.json: No such file"),
    ],
)
def test_what_cannot_be(arguments, code, reason, compare, album, knobbed, tmp_path):
    words = [word.format(style=knobbed) for word in arguments]
    found, output, errors = compare(*words)
    assert (found, output) == (code, "")
    assert re.sub(r"\s+", " ", errors).startswith("toonbox: ")
    assert reason in errors
    assert not (tmp_path / "comparison").exists()
