import logging
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import signalling
from toonbox.cli.main import main
from toonbox.errors import ConfigError, StyleError, UsageError
from toonbox.images.picture import decode
from toonbox.version import __version__


def toonbox(*arguments, **options):
    """Run the real command in a process of its own."""
    command = [sys.executable, "-m", "toonbox", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=3600, **options)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    rgb = np.random.default_rng(1).integers(0, 256, (20, 26, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path)
    return path


def test_version(capsys):
    assert exit_of("--version") == 0
    assert capsys.readouterr().out == f"toonbox {__version__}\n"


def test_photo_that_looks_like_an_option(photo, style_folder, monkeypatch):
    monkeypatch.chdir(photo.parent)
    photo.rename("-odd.png")
    assert exit_of("--style", style_folder, "--", "-odd.png") == 0
    assert exit_of("--style", style_folder, "--force", "./-odd.png") == 0
    assert decode(photo.with_name("-odd.toon.png")).rgb.shape == (20, 26, 3)


def test_no_argument_is_wrong_usage_and_shows_help():
    run = toonbox()
    assert run.returncode == 2
    assert "toonbox photo.jpg" in run.stdout + run.stderr


def test_everything_done_is_0(photo, style_folder):
    run = toonbox(photo, "--style", style_folder)
    assert run.returncode == 0, run.stderr
    target = photo.with_name("photo.toon.png")
    assert run.stdout == f"{photo} -> {target}\n"
    assert run.stderr == ""
    assert decode(target).rgb.shape == (20, 26, 3)


def test_some_input_failed_is_1(photo, style_folder, tmp_path):
    run = toonbox(tmp_path / "none.jpg", photo, "--style", style_folder)
    assert run.returncode == 1
    assert run.stdout == f"{photo} -> {photo.with_name('photo.toon.png')}\n"
    assert run.stderr.splitlines() == [
        f"toonbox: {tmp_path / 'none.jpg'}: no such file",
        "1 done, 1 failed",
    ]


def test_wrong_usage_is_2(photo):
    run = toonbox("--strength", "2", photo)
    assert run.returncode == 2
    assert "--strength" in run.stderr
    assert "Traceback" not in run.stderr


def test_interrupt_is_130_and_leaves_nothing_half_written(photo, style_folder, tmp_path):
    pictures = [tmp_path / f"{number}.png" for number in range(60)]
    for picture in pictures:
        picture.hardlink_to(photo)
    number = str(int(signal.SIGINT))
    run = subprocess.run(
        [sys.executable, signalling.__file__, number, *pictures, "--style", style_folder],
        capture_output=True,
        text=True,
        # Where the tests run in the background, children inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert run.returncode == 130
    assert "Traceback" not in run.stderr
    written = list(tmp_path.glob("*.toon.png"))
    assert 1 <= len(written) < 60
    for path in written:
        decode(path)
    assert not list(tmp_path.glob(".*"))


def loaded_by(*arguments):
    """Run the real command; return the modules that are loaded at its end."""
    code = (
        "import atexit, sys\n"
        "from toonbox.__main__ import main\n"
        "atexit.register(lambda: print(*(n for n, module in sys.modules.items() if module)))\n"
        "main()"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.splitlines()[-1].split())


def test_a_photo_loads_what_it_needs_and_no_more(photo, style_folder):
    loaded = loaded_by(photo, "--style", style_folder)
    unwanted = {"torch", "cv2", "onnx", "openvino", "av", "rich", "pydantic", "importlib.metadata"}
    assert not loaded & {*unwanted, "toonbox.learn", "toonbox.serve", "toonbox.video"}
    commands = {name.rpartition(".")[2] for name in loaded if name.startswith("toonbox.cli.")}
    assert commands == {"convert", "main", "options", "terminal"}


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs pip install openvino")
def test_openvino_is_loaded_for_several_photos_without_its_converter(photo, style_folder, tmp_path):
    (tmp_path / "other.png").write_bytes(photo.read_bytes())
    loaded = loaded_by(photo, tmp_path / "other.png", "--style", style_folder)
    assert "openvino" in loaded
    assert "openvino.tools.ovc" not in loaded


def exit_of(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(list(map(str, arguments)))
    return exit.value.code or 0


@pytest.mark.parametrize("help", ["--help", "-h"])
def test_help_has_examples(help, capsys):
    assert exit_of(help) == 0
    shown = capsys.readouterr().out
    assert "toonbox photo.jpg " in shown
    for command in ("cartoonize", "styles", "train", "export"):
        assert f"\n  {command} " in shown


def test_options_before_the_photo_belong_to_cartoonize(capsys):
    assert exit_of("--strength", "0.5", "--help") == 0
    assert "Usage: toonbox cartoonize" in capsys.readouterr().out


def test_command_of_the_same_name_wins(tmp_path, monkeypatch, style_folder, photo, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "styles").write_bytes(photo.read_bytes())
    assert exit_of("./styles", "--style", style_folder) == 0
    assert capsys.readouterr().out == "styles -> styles.toon.png\n"
    assert exit_of("styles", "--help") == 0
    assert "Usage: toonbox styles" in capsys.readouterr().out


def test_shell_completion(capsys, monkeypatch):
    # The tests need not be run from a shell.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert exit_of("--show-completion", "bash") == 0
    assert "toonbox" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("a b"), 2), (ConfigError("a b"), 2), (StyleError("a b"), 1)]
)
def test_errors_are_one_line(error, code, capsys, monkeypatch):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("toonbox.engine.style.style_names", fails)
    assert exit_of("styles") == code
    assert capsys.readouterr().err == "toonbox: a b\n"


def test_unexpected_errors_are_not_hidden(monkeypatch):
    def fails():
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("toonbox.engine.style.style_names", fails)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["styles"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_for_the_output_is_1_and_a_message(unbuffered):
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [sys.executable, "-m", "toonbox", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("toonbox: ")
    assert line.endswith("No space left on device")
    assert unbuffered or "standard output cannot be written" in line


def test_errors_of_the_system_are_messages_with_tracebacks_for_debug(
    monkeypatch, capsys, tmp_path, style_folder
):
    def fails(*_, **__):
        raise PermissionError(13, "Permission denied", "some/file")

    monkeypatch.setattr("toonbox.convert.job.convert_all", fails)
    for debug in ([], ["--debug"]):
        assert exit_of(tmp_path / "a.png", "--style", style_folder, *debug) == 1
        errors = capsys.readouterr().err
        assert errors.endswith("toonbox: [Errno 13] Permission denied: 'some/file'\n")
        assert ("Traceback" in errors) == bool(debug)


def test_remarks_of_the_library_are_shown(monkeypatch, capsys):
    def remarks():
        logging.getLogger("toonbox.images").warning("%s: a remark", "x.gif")
        return []

    monkeypatch.setattr("toonbox.engine.style.style_names", remarks)
    assert exit_of("styles") == 0
    assert "toonbox: x.gif: a remark\n" in capsys.readouterr().err


def test_ray_takes_no_pipe_and_an_address_only_goes_with_it(capsys):
    for arguments, reason in (
        (["a.jpg", "--address", "auto"], "--address is for --engine ray"),
        (
            ["a.jpg", "-o", "-", "--engine", "ray"],
            "pipes and previews cannot be combined",
        ),
    ):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 2
        assert reason in capsys.readouterr().err


def test_precision_that_cannot_be_had_is_wrong_usage(capsys, tmp_path):
    photo = str(tmp_path / "a.jpg")
    for arguments, reason in (
        (["--engine", "onnxruntime", "--precision", "int8"], "int8 needs the engine openvino"),
        (["--engine", "ray", "--precision", "int8"], "--precision does not apply to --engine ray"),
    ):
        with pytest.raises(SystemExit) as exit:
            main([photo, *arguments])
        assert exit.value.code == 2
        assert reason in capsys.readouterr().err
