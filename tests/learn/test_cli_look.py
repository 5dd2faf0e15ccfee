import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from toonbox.cli.main import app
from toonbox.errors import ConfigError, MissingExtraError, OutputError, PictureError, UsageError
from toonbox.learn.looks import look_file, look_names

RUN = CliRunner()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    file = tmp_path / "photo.jpg"
    Image.fromarray(noise).resize((90, 70), Image.Resampling.BICUBIC).save(file)
    return file


def look(*arguments: object):
    return RUN.invoke(app, ["look", *map(str, arguments)])


def test_looks_are_listed_and_shown() -> None:
    listed = look("list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == look_names()
    assert look("show", "ink").stdout == look_file("ink").read_text(encoding="utf-8")
    assert isinstance(look("show", "wild").exception, ConfigError)


def test_a_preview_is_the_target(photo: Path) -> None:
    from toonbox.learn.inspect import read_scaled
    from toonbox.learn.looks import load_look
    from toonbox.learn.representations.drawing import Layers

    done = look("preview", photo, "--look", "anime", "--texture", 2)
    assert done.exit_code == 0, done.output
    expected, _ = Layers.of(read_scaled(photo, 512)).draw(load_look("anime"), texture=2)
    with Image.open(photo.with_name("photo.anime.png")) as drawn:
        assert (np.asarray(drawn) == expected).all()


def test_numbers_of_ones_own_are_drawn(photo: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "my.toml", tmp_path / "out.webp"
    config.write_text("saturation = 0\n")
    done = look("preview", photo, "--look", config, "-o", out)
    assert done.exit_code == 0, done.output
    assert look("preview", photo, "--look", config).exit_code == 0
    with Image.open(tmp_path / "photo.my.png") as drawn:
        assert np.ptp(np.asarray(drawn), axis=2).max() <= 1
    with Image.open(out) as drawn:
        assert drawn.format == "WEBP"


def test_nothing_is_overwritten_unasked_and_never_the_photo(photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    for arguments in (["-o", photo], ["-o", photo, "--force"]):
        assert isinstance(look("preview", photo, *arguments).exception, OutputError)
    assert photo.read_bytes() == before
    out = tmp_path / "out.png"
    out.touch()
    assert isinstance(look("preview", photo, "-o", out).exception, OutputError)
    assert look("preview", photo, "-o", out, "--force").exit_code == 0
    assert out.stat().st_size


def test_what_is_wrong_is_named(photo: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.toml"
    config.write_text("tonez = 1\n")
    wrong = look("preview", photo, "--look", config).exception
    assert isinstance(wrong, ConfigError)
    assert "tonez" in str(wrong)
    assert isinstance(look("preview", photo, "-o", "out.gif").exception, UsageError)
    photo.write_bytes(b"no picture")
    damaged = look("preview", photo).exception
    assert isinstance(damaged, PictureError)
    assert "photo.jpg" in str(damaged)
    assert look("preview", photo, "--surface", "3").exit_code == 2


@pytest.mark.parametrize("command", [["list"], ["show", "comic"], ["preview"]])
def test_without_the_extra_it_says_what_to_install(
    photo: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    parts = ("toonbox.learn.looks", "toonbox.learn.settings", "toonbox.learn.representations")
    for name in [n for n in sys.modules if n.startswith(parts)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cv2", None)
    done = look(*command, *([photo] if command == ["preview"] else []))
    assert isinstance(done.exception, MissingExtraError)
    assert "pip install 'toonbox[train]'" in str(done.exception)


def test_a_preview_does_without_torch(photo: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from toonbox.cli.main import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "look", "preview", str(photo)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
