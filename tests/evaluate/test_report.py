import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toonbox.errors import OutputError
from toonbox.learn.evaluate.classifier import Classification
from toonbox.learn.evaluate.distances import Estimate
from toonbox.learn.evaluate.feature_networks import CropRule
from toonbox.learn.evaluate.measures import MEASURES, means
from toonbox.learn.evaluate.report import (
    Distances,
    Evaluation,
    Output,
    Result,
    notes,
    tables,
    text,
    write_report,
)

SHARES = Classification(0.1, {"original": 0.9, "surface": 0.6}, {"plain & <simple>": 0.4})


def result(folder: Path, name: str, number: int) -> Result:
    outputs = []
    for index in range(2):
        file = folder / f"{number}-{index}.png"
        Image.new("RGB", (90, 70), (100 * number, 50 * index, 0)).save(file)
        measures = {key: number + index + step / 8 for step, key in enumerate(MEASURES)}
        outputs.append(Output(Path(f"holiday/sea & sun {index}.jpg"), file, measures))
    distances = Distances(
        Estimate(200.04 - number, 190, 210), 12.34 * number, Estimate(0.1, 0.05, 0.15), 0.256
    )
    return Result(
        name, 720, means([o.measures for o in outputs]), tuple(outputs), {"net": distances}
    )


@pytest.fixture
def evaluation(tmp_path):
    results = (result(tmp_path, "photos", 0), result(tmp_path, "plain & <simple>", 1))
    return Evaluation(2, 30, 0, {"net": CropRule(seed=5)}, 20, 5, results, None, ())


def test_the_notes_name_counts_sizes_network_and_crop_rule(evaluation):
    told = "\n".join(notes(evaluation))
    assert "2 photos, 30 cartoons, seed 5" in told
    assert "photos 720, plain & <simple> 720" in told
    assert f"features of net: {CropRule(seed=5).text()}" in told
    assert "one half of the photos" in told
    assert "7 training photos" in "\n".join(notes(replace(evaluation, train_photos=7)))


def test_without_networks_nothing_is_said_of_them(evaluation):
    without = replace(evaluation, rules={})
    assert "probe" not in text(without)
    assert len(tables(without)) == 1


def test_the_text_shows_every_figure_in_its_column(evaluation):
    lines = text(evaluation).splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("Features of net"))
    title, photos, style = lines[start + 1 : start + 4]
    assert photos.split() == ["photos", "200.0", "[190.0,", "210.0]", "-", "100.0", "[50.0,",
                              "150.0]", "26"]  # fmt: skip
    assert "199.0 [190.0, 210.0]" in style
    assert style[: title.index("Frechet to photos") + len("Frechet to photos")].endswith(" 12.3")
    assert lines[-2].split()[-7:] == ["1.500", "1.6", "2", "187.5", "2.00", "2.1", "225.00"]
    assert lines[-1] == "Means over photos."


def test_the_classifiers_table_shows_shares_and_accuracies(evaluation):
    table = tables(replace(evaluation, classification=SHARES))[1]
    assert table.rows == [
        ("photos", "10", "-"),
        ("cartoons, original", "90", "90"),
        ("cartoons, surface", "60", "75"),
        ("outputs of plain & <simple>", "40", "65"),
    ]


def test_json_holds_everything_but_the_pictures(evaluation, tmp_path):
    write_report(replace(evaluation, classification=SHARES), tmp_path / "out")
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (found["photos"], found["cartoons"]) == (2, 30)
    assert found["rules"]["net"]["size"] == 224
    assert found["results"][1]["distances"]["net"]["to_photos"] == 12.34
    assert found["results"][1]["outputs"][1]["photo"] == str(Path("holiday/sea & sun 1.jpg"))
    assert found["results"][1]["outputs"][1]["edge_similarity"] == 2
    assert found["classification"]["representations"]["surface"] == 0.6


def test_csv_has_a_line_for_each_row_and_one_for_each_output(evaluation, tmp_path):
    out = tmp_path / "out"
    write_report(evaluation, out)
    results = list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))
    assert [line["name"] for line in results] == ["photos", "plain & <simple>"]
    assert float(results[1]["net frechet_to_cartoons"]) == 199.04
    assert float(results[1]["net kernel_to_cartoons_high"]) == 0.15
    assert float(results[1]["edge_similarity"]) == 1.5
    each = list(csv.DictReader(io.StringIO((out / "per-photo.csv").read_text())))
    assert len(each) == 4
    assert (each[3]["name"], float(each[3]["colour_drift"])) == ("plain & <simple>", 2.125)


class Page(HTMLParser):
    """Collects what a page shows, and checks that its elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.cells, self.pictures, self.words = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def test_the_page_shows_tables_and_pictures(evaluation, tmp_path):
    out = tmp_path / "out"
    write_report(evaluation, out)
    shown = Page((out / "index.html").read_text(encoding="utf-8"))
    assert shown.open == []
    expected = [cell for t in tables(evaluation) for line in (t.columns, *t.rows) for cell in line]
    assert [cell for cell in shown.cells if cell.strip()] == [cell for cell in expected if cell]
    assert "sea & sun 1.jpg" in shown.words
    assert [picture["alt"] for picture in shown.pictures[:2]] == [
        "sea & sun 0.jpg: photos",
        "sea & sun 0.jpg: plain & <simple>",
    ]
    assert len({picture["src"] for picture in shown.pictures}) == 4
    for picture, output in zip(shown.pictures[::2], evaluation.results[0].outputs, strict=True):
        with Image.open(out / picture["src"]) as written, Image.open(output.file) as original:
            difference = np.asarray(written).astype(int) - np.asarray(original)
        assert np.abs(difference).max() <= 3


def test_a_second_report_replaces_the_first(evaluation, tmp_path):
    write_report(evaluation, tmp_path / "out")
    write_report(replace(evaluation, seed=6), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["seed"] == 6


def test_a_file_in_the_folders_place_is_named(evaluation, tmp_path):
    (tmp_path / "out").write_text("here already")
    with pytest.raises(OutputError, match="out"):
        write_report(evaluation, tmp_path / "out")


def test_a_name_that_is_not_utf8_is_escaped(evaluation, tmp_path):
    odd = []
    for each in evaluation.results:
        outputs = tuple(replace(output, photo=Path("caf\udce9.jpg")) for output in each.outputs)
        odd.append(replace(each, outputs=outputs))
    write_report(replace(evaluation, results=tuple(odd)), tmp_path / "out")
    assert r"caf\udce9.jpg" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert r"caf\udce9.jpg" in (tmp_path / "out" / "per-photo.csv").read_text(encoding="utf-8")
