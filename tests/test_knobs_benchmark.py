"""The proof of the knobs: its shares, its plot, and the whole of it with a tiny style."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from toonbox.engine.style import load_style
from toonbox.learn.evaluate.measures import colour_segments, interior_energy, outline_contrast

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"
KNOBS = ("surface", "structure", "texture")


@pytest.fixture
def knobs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("knobs")


@pytest.fixture
def plotting(knobs: ModuleType) -> ModuleType:
    return sys.modules["knobs_plot"]


def draw(folder: Path, count: int) -> Path:
    """Write photos of discs on a ramp, with a little noise."""
    folder.mkdir()
    y, x = np.mgrid[0:72, 0:96]
    for index in range(count):
        random = np.random.default_rng(index)
        rgb = np.stack([x * 2, y * 2, x + y], axis=2) + random.normal(0, 8, (72, 96, 3))
        rgb[(x - 30 - 9 * index) ** 2 + (y - 35) ** 2 < 400] += (70, 20, 90)
        Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


FALLING = [
    [8, 7, 6, 5, 4],  # always
    [8, 8.07, 6, 5, 4],  # back by 0.07 of 4: under 2 %
    [8, 8.09, 6, 5, 4],  # back by 0.09: more
    [8, 5, 6, 5.5, 5.9],  # 1 is below 0 and 2 below 1, with steps back between
    [4, 5, 6, 7, 8],  # the wrong way
    [5, 5, 5, 5, 5],  # a knob that does nothing
    [8, 7, 4, 4, 4],  # stops after 1
    [4.01, 4, 4, 4, 4.02],  # a little the wrong way at the end
]


@pytest.mark.parametrize("sign", [1, -1])
def test_shares_of_photos_that_go_the_right_way(knobs: ModuleType, sign: int) -> None:
    values = -sign * np.array(FALLING)
    # By hand, row by row: which are monotone over 0, 1, 2, and which over all settings.
    strict = [1, 1, 1, 1, 0, 0, 0, 0]
    steady = [1, 1, 0, 0, 0, 0, 1, 0]
    for row, *expected in zip(values, strict, steady, strict=True):
        found = [share(row[None], sign) for share in (knobs.strict_share, knobs.steady_share)]
        assert found == expected, row
    assert knobs.strict_share(values, sign) == 4 / 8
    assert knobs.steady_share(values, sign) == 3 / 8


def test_findings_take_each_knobs_own_measure(knobs: ModuleType) -> None:
    values = np.random.default_rng(0).random((4, 3, 5, 3))
    values[:, 0, :, 0] = [[5, 4, 3, 2, 1]] * 3 + [[1, 2, 3, 4, 5]]
    values[:, 1, :, 1] = [5, 4, 3, 2, 1]
    values[:, 2, :, 2] = [1, 2, 3, 2.9, 4]
    found = knobs.findings(values)
    assert [(f.strict, f.steady) for f in found.values()] == [(0.75, 0.75), (1, 1), (1, 0)]
    assert found["surface"].means["interior_energy"] == [4, 3.5, 3, 2.5, 2]
    # A cross effect: what turning structure does to outlines.
    np.testing.assert_allclose(
        found["structure"].means["outline_contrast"], values[:, 1, :, 2].mean(axis=0)
    )


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]


def test_the_plot_shows_every_photo_by_its_value_at_one(plotting: ModuleType) -> None:
    values = np.array([[2, 2, 2, 2, 4], [30, 20, 10, 5, 0], [0, 0, 0, 0, 9.0]])
    panel = plotting.Panel("texture", "lines & more", values)
    svg = ElementTree.fromstring(plotting.plot([panel], (0, 0.5, 1, 1.5, 2), 2))
    photos = [points(e) for e in svg.iter(f"{SVG}polyline") if e.get("class") == "photo"]
    (mean,) = (points(e) for e in svg.iter(f"{SVG}polyline") if e.get("class") == "mean")
    width, height = plotting.WIDTH, plotting.HEIGHT
    assert [x for x, _ in mean] == [0, width / 4, width / 2, width * 3 / 4, width]
    # The value at the default, 1, is at one height for all; axis and ticks begin at 0.
    unit = height - mean[2][1]
    np.testing.assert_allclose(
        [(height - y) / unit for _, y in photos[0]], [1, 1, 1, 1, 2], atol=0.01
    )
    np.testing.assert_allclose(
        [(height - y) / unit for _, y in photos[1]], [3, 2, 1, 0.5, 0], atol=0.01
    )
    assert len(photos) == 2  # the third has no value at 1 to go by
    np.testing.assert_allclose(
        [(height - y) / unit for _, y in mean], np.array([32, 22, 12, 7, 13]) / 12, atol=0.01
    )
    texts = ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]
    assert texts[0] == "texture"
    assert texts[-1] == "lines & more, by its value at 1"
    assert {"0", "0.5", "1", "1.5", "2"} <= set(texts)


def test_a_measure_that_is_nowhere_above_nought_leaves_the_axes_empty(plotting: ModuleType) -> None:
    panel = plotting.Panel("texture", "outline", np.zeros((2, 5)))
    svg = ElementTree.fromstring(plotting.plot([panel], (0, 0.5, 1, 1.5, 2), 2))
    assert [points(line) for line in svg.iter(f"{SVG}polyline")] == [[]]


@pytest.mark.parametrize(
    ("highest", "step"), [(1, 0.2), (1.2, 0.2), (1.21, 0.5), (3.1, 1), (7, 2), (61, 20)]
)
def test_ticks_are_few_and_round(plotting: ModuleType, highest: float, step: float) -> None:
    assert plotting.tick_step(highest) == step


def test_everything_is_written(knobs, tiny_style, tmp_path, capsys) -> None:
    style = tiny_style(knobs=KNOBS, working_resolution=64)
    photos = draw(tmp_path / "photos", 4)
    out = tmp_path / "docs" / "out"
    options = ["--photos", photos, "--style", style, "--show", photos / "1.png", "--out", out]
    assert knobs.main([*map(str, options), "--limit", "2"]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    assert printed.startswith("tiny at 64 pixels, 2 photos\n")
    found = json.loads((out / "knobs.json").read_text())
    assert found["photos"] == ["0.png", "2.png"]
    assert list(found["knobs"]) == list(KNOBS)
    for knob, finding in found["knobs"].items():
        share = re.search(rf"^{knob}, to .*\n(?:.*\n){{4}}monotone .*: ([\d.]+)%", printed, re.M)
        assert share is not None
        assert float(share[1]) == 100 * finding["strict"]
        assert np.shape(finding["values"]) == (2, 5)
    svg = ElementTree.parse(out / "knobs.svg").getroot()
    lines = [line.get("class") for line in svg.iter(f"{SVG}polyline")]
    assert lines.count("mean") == 3
    with Image.open(out / "knobs.png") as sheet:
        assert sheet.width > 5 * 85  # five cartoons of 85 x 64 and the names
        assert sheet.height > 3 * 64


def test_the_figures_are_those_of_the_style(knobs, tiny_style, tmp_path) -> None:
    style = load_style(tiny_style(knobs=("texture", "surface", "structure")))
    photo = np.asarray(Image.open(draw(tmp_path / "photos", 1) / "0.png"))
    read = knobs.Reader()
    _, values = knobs.turn_all(style, [tmp_path / "photos" / "0.png"], read)
    small = knobs.shrunk(photo, 64)
    for place, knob in enumerate(KNOBS):
        for index, setting in enumerate((0, 0.5, 1, 1.5, 2)):
            output = style(small, **{knob: setting})
            expected = [
                interior_energy(small, output),
                colour_segments(output),
                outline_contrast(small, output),
            ]
            np.testing.assert_allclose(values[0, place, index], expected)


def test_unreadable_photos_are_named(knobs, tiny_style, tmp_path, capsys) -> None:
    photos = draw(tmp_path / "photos", 1)
    (photos / "broken.png").write_bytes(b"no picture")
    options = ["--photos", photos, "--style", tiny_style(knobs=KNOBS), "--out", tmp_path / "out"]
    assert knobs.main([*map(str, options), "--show", str(photos / "0.png")]) == 1
    printed, errors = capsys.readouterr()
    assert "pixels, 1 photos" in printed
    assert errors.startswith(f"knobs.py: {photos / 'broken.png'}: ")


def test_a_style_without_the_knobs_is_refused(knobs, tiny_style, tmp_path, capsys) -> None:
    options = ["--photos", tmp_path, "--style", tiny_style(knobs=("surface",))]
    assert knobs.main([*map(str, options), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "knobs.py: style tiny has no knob structure, texture\n"
    assert not (tmp_path / "out").exists()


def test_a_limit_of_nothing_is_wrong_usage(knobs, capsys) -> None:
    with pytest.raises(SystemExit) as exit:
        knobs.main(["--photos", ".", "--limit", "0"])
    assert exit.value.code == 2
