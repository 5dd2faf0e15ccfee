import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from toonbox.cli.main import app
from toonbox.errors import ConfigError, MissingExtraError, UsageError

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
        (["--features", __file__], UsageError, "belongs to discriminators"),
        (["--devices", "3"], UsageError, "a batch of 4 cannot be shared by 3"),
        (["--preset", "wild"], ConfigError, "no preset 'wild'"),
        (["--steps", "-1"], ConfigError, "greater than or equal to 0"),
    ],
)
def test_options_that_cannot_be_are_wrong_usage(
    arguments: list[str], extra: list[str], error: type[Exception], reason: str
) -> None:
    done = RUN.invoke(app, [*arguments, *extra])
    assert isinstance(done.exception, error)
    assert reason in str(done.exception)


def test_without_the_extra_it_says_what_to_install(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A None in sys.modules is what an import of a missing package runs into.
    for name in [n for n in sys.modules if n.startswith(("toonbox.training", "toonbox.networks"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    done = RUN.invoke(app, arguments)
    assert isinstance(done.exception, MissingExtraError)
    assert "pip install 'toonbox[train]'" in str(done.exception)


@pytest.mark.slow
def test_offline_without_weights_names_what_is_missing(arguments: list[str], tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "toonbox", *arguments, "--offline"],
        env={**os.environ, "TOONBOX_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "vgg16" in done.stderr
    assert "Traceback" not in done.stderr
