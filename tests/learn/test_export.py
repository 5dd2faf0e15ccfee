import shutil
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from toonbox.cli.main import app
from toonbox.engine.style import Card, load_style, read_card, write_card
from toonbox.errors import ExportError, OutputError
from toonbox.learn import export
from toonbox.learn.config import parse_config, save_config
from toonbox.learn.data import TrainingData
from toonbox.learn.export import SizedGenerator, check_parity, export_run, to_onnx, write_style
from toonbox.learn.generator import Generator, GeneratorConfig, load_generator, save_generator


def generator(scale: float = 0.05, stages: int = 3, knobs: bool = False) -> Generator:
    torch.manual_seed(0)
    size = {"base_channels": 4, "stages": stages, "residual_blocks": 1}
    network = Generator(GeneratorConfig(**size, knobs=knobs))
    torch.nn.init.normal_(network.head.weight, std=scale)
    return network.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training run leaves, without the training."""
    folder = tmp_path_factory.mktemp("run")
    random = np.random.default_rng(0)
    files = []
    for index in range(3):
        files.append(folder / f"{index}.png")
        noise = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((400, 330)).save(files[-1])
    values = {"generator": {"base_channels": 4, "stages": 3, "residual_blocks": 1}}
    save_config(parse_config(values, "test"), folder / "config.toml")
    save_generator(generator(), folder / "generator.safetensors")
    TrainingData(files, files[:2]).save(folder / "data.json")
    torch.save({"step": 7}, folder / "checkpoint.pt")
    (folder / "environment.json").write_text('{"recipe": "mine.toml"}')
    return folder


CARD = Card("mine", "1", "Ours", 8, 96, "CC0", "", "", "")
DESCRIBED = {"description": "Ours", "licence": "CC0", "data": None}


@pytest.fixture(scope="module")
def exported(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[onnx.ModelProto]]:
    """The run as a style, by the command, and its network as converted, which takes seconds."""
    folder, models = tmp_path_factory.mktemp("styles"), []

    def convert(*arguments: Any) -> onnx.ModelProto:
        models.append(to_onnx(*arguments))
        return deepcopy(models[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "to_onnx", convert)
        done = CliRunner().invoke(app, [
            *("export", str(run), "--name", "mine", "--to", str(folder), "--description", "Ours"),
            *("--licence", "CC0", "--working-resolution", "96"),
        ])  # fmt: skip
    assert (done.exit_code, done.output) == (0, f"{folder / 'mine'}\n"), done.exception
    return folder / "mine", models


@pytest.fixture(scope="module")
def style(exported: tuple[Path, list[onnx.ModelProto]]) -> Path:
    return exported[0]


def drawn_by(network: Generator, photo: np.ndarray, *knobs: torch.Tensor) -> np.ndarray:
    """Give what a generator makes of a photo that goes on beyond its edges, as in use."""
    height, width = photo.shape[:2]
    edges = [(4, 4 + -side % 8) for side in (height, width)]
    surrounded = np.pad(photo, [*edges, (0, 0)], mode="reflect")
    signed = torch.from_numpy(surrounded / 127.5 - 1).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        output = network(signed, *knobs)
    return ((output[0] + 1) * 127.5).permute(1, 2, 0).numpy()[4 : 4 + height, 4 : 4 + width]


@pytest.mark.slow
def test_the_style_does_what_the_generator_does(style: Path) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    loaded = load_style(style, engine="onnxruntime", threads=1)
    expected = drawn_by(generator(), photo)
    cartoon = loaded(photo)
    # float16 weights: at most 1/255 of the range off, and the rounding.
    assert np.abs(cartoon - expected).max() <= 1.1
    assert np.abs(cartoon.astype(int) - photo).mean() > 3


def test_weights_are_stored_as_float16(style: Path) -> None:
    model = onnx.load(style / "style.onnx")
    kinds = {t.data_type for t in model.graph.initializer if len(t.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert [i.name for i in model.graph.input] == ["photo"]
    assert [o.name for o in model.graph.output] == ["cartoon"]
    assert all(d.dim_param for i in (0, 2, 3) for d in [_dimension(model, i)])
    # The exporter notes the files it came from: nothing of this machine is to be shipped.
    assert b"/src/" not in (style / "style.onnx").read_bytes()


def _dimension(model: onnx.ModelProto, index: int):
    return model.graph.input[0].type.tensor_type.shape.dim[index]


def test_the_card_tells_where_it_comes_from(style: Path, run: Path) -> None:
    from toonbox.learn.config import load_config

    card = tomllib.loads((style / "card.toml").read_text())
    assert card["name"] == "mine"
    assert card["licence"] == "CC0"
    assert card["data"] == "3 photos, 2 cartoons"
    assert (card["recipe"], card["steps"]) == ("mine.toml", 7)
    assert (card["size_multiple"], card["working_resolution"]) == (8, 96)
    assert card["detail_resolution"] == 0
    assert card["config_sha256"] == load_config(run / "config.toml").sha256()
    with Image.open(style / "preview.png") as preview:
        picture = np.asarray(preview.convert("RGB"))
    with Image.open(export.PREVIEW_PHOTO) as opened:
        photo = np.asarray(opened.convert("RGB"))
    assert picture.shape == (2 * photo.shape[0], photo.shape[1], 3)
    assert (picture[: len(photo)] == photo).all()
    cartoon = load_style(style, engine="onnxruntime")(photo)
    assert np.abs(picture[len(photo) :].astype(int) - cartoon).max() <= 1


def test_the_generator_lies_beside_it(style: Path) -> None:
    beside = load_generator(style / "generator.safetensors")
    assert beside.config == generator().config
    for name, value in generator().state_dict().items():
        assert torch.equal(beside.state_dict()[name], value)


def test_knobs_are_an_input_of_the_style(run: Path, tmp_path: Path) -> None:
    knobbed = tmp_path / "run"
    shutil.copytree(run, knobbed)
    size = {"base_channels": 4, "stages": 2, "residual_blocks": 1, "knobs": True}
    network = generator(stages=2, knobs=True)
    torch.nn.init.normal_(network.knobs.embed[-1].weight, std=0.5)
    (knobbed / "config.toml").unlink()
    save_config(parse_config({"generator": size}, "test"), knobbed / "config.toml")
    save_generator(network, knobbed / "generator.safetensors")
    folder = export_run(knobbed, tmp_path / "style", detail_resolution=768, **DESCRIBED)
    loaded = load_style(folder, engine="onnxruntime", threads=1)
    assert loaded.card.working_resolution == 512  # the largest short side of training
    assert loaded.card.detail_resolution == 768
    assert loaded.card.knobs == ("surface", "structure", "texture")
    photo = np.random.default_rng(1).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    expected = drawn_by(network, photo, torch.tensor([[0.5, 1.0, 2.0]]))
    look = {"surface": 0.5, "texture": 2.0, "resolution": "native"}
    assert np.abs(loaded(photo, **look) - expected).max() <= 1.1
    assert np.abs(loaded(photo, resolution="native") - expected).max() > 5


def test_photos_that_are_gone(
    exported, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(export, "to_onnx", lambda *_: exported[1][0])
    shutil.copytree(run, tmp_path / "run")
    listed = (run / "data.json").read_text().replace(str(run), str(tmp_path / "gone"))
    (tmp_path / "run" / "data.json").write_text(listed)
    style = export_run(tmp_path / "run", tmp_path / "mine", **DESCRIBED)
    assert read_card(style).data == "3 photos, 2 cartoons"
    assert "no ranges for int8" in caplog.text
    assert "photos are gone" in caplog.text


def test_ranges_are_found_on_squares_of_some_photos(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "run")
    for index in range(30):
        Image.new("RGB", (63, 400), (255, 0, 0)).save(tmp_path / f"{index:02}.png")
    TrainingData(sorted(tmp_path.glob("*.png")), []).save(tmp_path / "run/data.json")
    given = {}
    monkeypatch.setattr(
        export,
        "write_style",
        lambda *_, **options: given.update(options) or (tmp_path / "mine").mkdir(),
    )
    export_run(tmp_path / "run", tmp_path / "mine", **DESCRIBED)
    assert [photo.shape for photo in given["photos"]] == [(1, 3, 320, 320)] * 12
    assert given["photos"][0][0, :, 0, 0].tolist() == [1, -1, -1]


def test_a_folder_that_cannot_be_made_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file/mine cannot be made: Not a directory"):
        export_run(run, tmp_path / "file/mine", **DESCRIBED)


def test_a_file_that_cannot_be_written_is_named(style: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(style, tmp_path / "mine")
    weights = folder / "generator.safetensors"
    for file, write in (
        ("preview.png", lambda: export.draw_preview(folder)),
        ("generator.safetensors", lambda: save_generator(generator(), weights)),
        ("card.toml", lambda: write_card(CARD, folder)),
    ):
        (folder / file).unlink()
        (folder / file).mkdir()
        with pytest.raises(OutputError, match=f"mine/{file} cannot be written"):
            write()


@pytest.mark.parametrize("detail", [95, 200])
def test_a_style_that_could_not_be_loaded_is_not_written(
    run: Path, tmp_path: Path, detail: int
) -> None:
    with pytest.raises(ExportError, match="one to two times working_resolution"):
        export_run(
            run, tmp_path / "mine", working_resolution=96, detail_resolution=detail, **DESCRIBED
        )
    assert not (tmp_path / "mine").exists()


def test_an_existing_style_is_kept(style: Path, run: Path) -> None:
    before = (style / "style.onnx").read_bytes()
    with pytest.raises(OutputError, match="--force"):
        export_run(run, style, working_resolution=96, **DESCRIBED)
    assert (style / "style.onnx").read_bytes() == before


def test_a_network_that_does_not_survive_the_conversion_is_refused(
    style: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = onnx.load(style / "style.onnx")
    monkeypatch.setattr(export, "to_onnx", lambda *_: good)
    other = SizedGenerator(generator(0.2))
    with pytest.raises(ExportError, match=r"at 64x64 the exported style differs"):
        write_style(other, tmp_path / "s", CARD)
    assert list((tmp_path / "s").iterdir()) == []


def test_a_not_a_number_is_no_parity(style: Path) -> None:
    with pytest.raises(ExportError, match="nan"):
        check_parity(lambda x: x * torch.nan, style / "style.onnx", 8, 0, 1.0)


def test_weights_that_float16_cannot_hold_stay_float32(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 3, 1))
    with torch.no_grad():
        network[0].weight *= 1e6  # beyond float16's 65504
        network[1].weight *= 1e-6
    folder = write_style(network, tmp_path / "s", CARD)
    kinds = {t.data_type for t in onnx.load(folder / "style.onnx").graph.initializer if t.dims}
    assert onnx.TensorProto.FLOAT16 not in kinds
    load_style(folder, engine="onnxruntime")


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"config\.toml is missing"):
        export_run(tmp_path, tmp_path / "s", working_resolution=96, **DESCRIBED)


def test_any_batch_and_size_goes_through_the_graph(style: Path) -> None:
    import onnxruntime

    network = SizedGenerator(generator())
    session = onnxruntime.InferenceSession(style / "style.onnx")
    for shape in ((1, 3, 8, 8), (3, 3, 16, 40)):
        photo = torch.rand(shape) * 2 - 1
        with torch.no_grad():
            expected = network(photo).numpy()
        (found,) = session.run(None, {"photo": photo.numpy()})
        np.testing.assert_allclose(found, expected, atol=export.HALF_TOLERANCE)
