import builtins
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from toonbox.cli.main import main
from toonbox.engine.style import load_style
from toonbox.learn.evaluate.evaluate import shrunk
from toonbox.learn.evaluate.measures import measure


def draw(folder: Path, count: int, colour: int) -> None:
    folder.mkdir()
    random = np.random.default_rng(colour)
    for index in range(count):
        noise = random.normal(colour, 30, (70, 80, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(folder / f"{index}.png")


def mean_colours(file: Path) -> Path:
    """Write a feature network: the mean of each channel of 32 x 32 crops."""
    nodes = [helper.make_node("GlobalAveragePool", ["images"], ["features"])]
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 32, 32]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3, 1, 1]),
    ]
    graph = helper.make_graph(nodes, "means", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, file)
    return file


@pytest.fixture
def arguments(tmp_path, tiny_style, tmp_path_factory):
    style = tiny_style(to=tmp_path_factory.mktemp("styles"))
    draw(tmp_path / "photos", 5, 80)
    draw(tmp_path / "cartoons", 3, 180)
    draw(tmp_path / "more", 2, 200)
    network = mean_colours(tmp_path / "colours.onnx")
    return ["--style", style, "--photos", tmp_path / "photos", "--features", network,
            "--cartoons", tmp_path / "cartoons", "--cartoons", tmp_path / "more",
            "--draws", "2"]  # fmt: skip


def run(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(["evaluate", *map(str, arguments)])
    return exit.value.code or 0


def test_it_prints_tables_and_writes_the_report(arguments, tmp_path, capsys):
    out = tmp_path / "report"
    assert run(*arguments, "--out", out) == 0
    printed = capsys.readouterr()
    assert "5 photos, 5 cartoons" in printed.out
    assert "crops of 32 pixels" in printed.out
    for title in ("Features of colours", "Frechet to cartoons", "KID x1000", "edge SSIM"):
        assert title in printed.out
    assert sum(line.startswith(f"{arguments[1]} ") for line in printed.out.splitlines()) == 2
    assert printed.err == f"-> {out / 'index.html'}\n"
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "per-photo.csv", "pictures", "results.csv", "results.json"
    ]  # fmt: skip
    assert len(list((out / "pictures").iterdir())) == 10


def test_without_out_nothing_is_written(arguments, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert run(*arguments) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_limit_resolution_and_training_photos(arguments, tmp_path, capsys):
    draw(tmp_path / "trained", 3, 90)
    options = ("--limit", 4, "--resolution", 66, "--train-photos", tmp_path / "trained")
    assert run(*arguments, *options, "--out", tmp_path / "report") == 0
    printed = capsys.readouterr().out
    assert "4 photos, 5 cartoons" in printed
    assert "3 training photos" in printed
    assert f"photos 66, {arguments[1]} 66" in printed
    picture = next((tmp_path / "report" / "pictures").iterdir())
    assert min(Image.open(picture).size) == 66


def test_settings_behind_a_style(arguments, tmp_path, tiny_style):
    knobbed = tiny_style("knobbed", to=tmp_path / "others", knobs=("surface", "texture"))
    texts = [
        f"{knobbed}:texture=2,surface=0,resolution=68",
        f"{knobbed}:strength=0",
        f"{knobbed}:surface=1",
    ]
    given = [word for text in texts for word in ("--style", text)]
    assert run(*arguments, *given, "--resolution", 66, "--out", tmp_path / "report") == 0
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    rows = {row["name"]: row for row in found["results"]}
    assert list(rows) == ["photos", str(arguments[1]), *texts]
    assert [row["resolution"] for row in rows.values()] == [66, 66, 68, 66, 66]
    assert rows[texts[1]]["measures"]["colour_drift"] == 0
    style = load_style(knobbed)
    for text, pixels, told in (
        (texts[0], 68, {"texture": 2, "surface": 0}),
        (texts[2], 66, {}),
    ):
        for output in rows[text]["outputs"]:
            small = shrunk(np.asarray(Image.open(output["photo"])), pixels)
            expected = measure(small, style(small, resolution="native", **told))
            assert output["interior_energy"] == pytest.approx(expected["interior_energy"])
            assert output["colour_drift"] == pytest.approx(expected["colour_drift"])


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("colour=1", "no setting 'colour'"),
        ("strength=much", "strength should be a number"),
        ("strength=2", "strength must be from 0 to 1"),
        ("texture=1", "tiny has no knob texture"),
        ("resolution=63", "resolution should be at least 64 pixels"),
        ("resolution=native", "resolution should be at least 64 pixels"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_measuring(
    setting, reason, arguments, monkeypatch, capsys
):
    monkeypatch.setattr("toonbox.learn.evaluate.evaluate.evaluate", None)
    assert run(*arguments, "--style", f"{arguments[1]}:{setting}") == 2
    words = capsys.readouterr().err.replace("│", " ").split()
    assert reason in " ".join(words)


def test_an_unreadable_picture_is_named_and_the_exit_code_says_so(arguments, tmp_path, capsys):
    broken = tmp_path / "photos" / "broken.png"
    broken.write_bytes(b"no picture")
    assert run(*arguments) == 1
    printed = capsys.readouterr()
    assert "5 photos" in printed.out
    assert printed.err.startswith(f"toonbox: {broken}: ")


def test_an_empty_folder_is_wrong_usage(arguments, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(*arguments, "--cartoons", tmp_path / "empty") == 2
    assert "empty: no picture" in capsys.readouterr().err


def test_a_file_in_place_of_the_report_is_refused_before_measuring(arguments, tmp_path, capsys):
    (tmp_path / "report").touch()
    assert run(*arguments, "--out", tmp_path / "report") == 1
    printed = capsys.readouterr()
    assert "report is a file, not a folder" in printed.err
    assert not printed.out


def test_an_unknown_style_is_named(arguments, capsys):
    assert run(*arguments, "--style", "nothing-like-it") == 1
    assert "nothing-like-it" in capsys.readouterr().err


def test_without_features_nothing_is_compared_with_cartoons(arguments, capsys):
    without = arguments[: arguments.index("--features")]
    assert run(*without) == 0
    printed = capsys.readouterr().out
    assert "edge SSIM" in printed
    assert "Frechet" not in printed


@pytest.mark.parametrize("option", ["--features", "--classifier"])
def test_what_compares_with_cartoons_needs_them(option, arguments, capsys):
    without = arguments[: arguments.index("--cartoons")]
    if option == "--classifier":
        without = [*without[: without.index("--features")], option]
    assert run(*without) == 2
    assert "compare with --cartoons" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--cartoons", "--train-photos"])
def test_what_nothing_is_compared_with_is_refused(option, arguments, tmp_path, capsys):
    assert run(*arguments[: arguments.index("--features")], option, str(tmp_path)) == 2
    assert "are for --features and --classifier" in capsys.readouterr().err


def test_the_classifier_is_trained_on_demand(arguments, monkeypatch, capsys):
    from toonbox.learn.evaluate import classifier

    steps = classifier.ClassifierConfig(classifier.CropRule(64, 32, 2), 2, 4, base_channels=4)
    monkeypatch.setattr(classifier, "ClassifierConfig", lambda seed: steps)
    assert run(*arguments, "--classifier") == 0
    assert "cartoons, structure" in capsys.readouterr().out


def test_progress_shows_on_a_terminal(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(*arguments) == 0
    assert "5/5" in capsys.readouterr().err


def test_it_needs_the_learning_half(arguments, monkeypatch, capsys):
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("toonbox.learn.evaluate"):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert run(*arguments) == 1
    assert "pip install 'toonbox[train]'" in capsys.readouterr().err
