import io
import json
import os
import pty
import resource
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from toonbox.cli.main import main
from toonbox.engine.style import load_style
from toonbox.images.picture import decode

RGB = np.random.default_rng(1).integers(0, 256, (20, 26, 3), dtype=np.uint8)


def data(format):
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toonbox(style_folder, monkeypatch, capsysbinary):
    """Give a function that runs the command with bytes for its standard input."""

    def run(*arguments, given=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--style", str(style_folder)])
        shown = capsysbinary.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, *shown)

    return run


@pytest.fixture
def process(style_folder):
    """Give a function that does the same in a process of its own."""

    def run(*arguments, given=b"", **options):
        command = [sys.executable, "-m", "toonbox", *arguments, "--style", str(style_folder)]
        return subprocess.run(
            command, **{"input": given, "capture_output": True, "timeout": 3600, **options}
        )

    return run


@pytest.mark.parametrize(("way", "output"), [("toonbox", []), ("process", ["-o", "-"])])
def test_through(way, output, request, style_folder, here):
    how = ["--engine", "onnxruntime"]
    run = request.getfixturevalue(way)("-", *output, *how, given=data("PNG"))
    assert (run.returncode, run.stderr) == (0, b"")
    picture = decode(run.stdout)
    assert picture.format == "PNG"
    expected = load_style(style_folder, engine="onnxruntime")(RGB)
    np.testing.assert_array_equal(picture.rgb, expected)
    assert list(here.iterdir()) == []


def test_a_file_from_a_pipe_is_reported_as_json(toonbox):
    run = toonbox("-", "-o", "a.png", "--json", given=data("PNG"))
    told = json.loads(run.stdout)
    assert (told["input"], told["output"], told["status"]) == ("-", "a.png", "ok")
    assert (told["width"], told["height"]) == (26, 20)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--crf=20", b"--crf is for videos, and there are none"),
        ("--exclude=*", b"--include and --exclude are for folders, and there are none"),
    ],
)
def test_an_option_without_effect_is_refused(option, reason, toonbox):
    run = toonbox("-", option, given=data("PNG"))
    assert (run.returncode, run.stdout) == (2, b"")
    assert reason in run.stderr


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "PPM"])
def test_content_decides_the_format(format, toonbox):
    assert decode(toonbox("cartoonize", "-", given=data(format)).stdout).format == format


def test_a_format_may_be_asked_for(toonbox):
    run = toonbox("cartoonize", "-", "--format", "png", given=data("JPEG"))
    assert decode(run.stdout).format == "PNG"


def test_into_a_file_whose_suffix_decides_the_format(toonbox, here):
    run = toonbox("-", "-o", "new/cartoon.webp", given=data("PNG"))
    assert (run.returncode, run.stdout, run.stderr) == (0, b"- -> new/cartoon.webp\n", b"")
    assert decode(here / "new" / "cartoon.webp").format == "WEBP"
    run = toonbox("-", "-o", "new/cartoon.webp", given=data("PNG"))
    assert run.returncode == 1
    assert b"new/cartoon.webp exists already" in run.stderr
    assert toonbox("-", "-o", "new/cartoon.webp", "--force", given=data("PNG")).returncode == 0


def test_out_of_a_file(toonbox, here, style_folder):
    (here / "a.bmp").write_bytes(data("BMP"))
    run = toonbox("a.bmp", "-o", "-")
    assert (run.returncode, run.stderr) == (0, b"")
    assert decode(run.stdout).format == "BMP"
    np.testing.assert_array_equal(decode(run.stdout).rgb, load_style(style_folder)(RGB))
    assert [path.name for path in here.iterdir()] == ["a.bmp"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", b"is empty"),
        (b"hello", b"is text, not a picture"),
        (data("JPEG")[:-200], b"ends before the picture is complete"),
    ],
)
def test_what_is_no_picture(given, reason, toonbox):
    run = toonbox("-", given=given)
    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr == b"toonbox: standard input: " + reason + b"\n"


def test_limit_of_pixels(toonbox):
    run = toonbox("-", "--max-pixels", "519", given=data("PNG"))
    assert (run.returncode, run.stdout) == (1, b"")
    assert b"limit of 519 pixels" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-", "a.png"], b"only one photo can go through -"),
        (["a.png", "b.png", "-o", "-"], b"only one photo can go through -"),
        (["album", "-o", "-"], b"only one photo can go through -"),
        (["-", "-o", "album"], b"album is a folder"),
        (["-", "-o", "new/"], b"new/ is a folder"),
        (["-", "-o", "a.heic"], b"cannot write .heic"),
        (["-", "--json"], b"--json"),
        (["-", "a.png", "--style", "missing"], b"only one photo can go through -"),
    ],
)
def test_wrong_usage(arguments, reason, toonbox, here):
    (here / "album").mkdir()
    run = toonbox(*arguments, given=data("PNG"))
    assert (run.returncode, run.stdout) == (2, b"")
    assert reason in run.stderr
    assert b"Traceback" not in run.stderr


@pytest.mark.parametrize("end", ["stdin", "stdout"])
def test_a_terminal_is_refused(end, process):
    ours, theirs = pty.openpty()
    options = {"stdin": theirs, "input": None} if end == "stdin" else {"stdout": theirs}
    if end == "stdin":
        options |= {"stdout": subprocess.PIPE}
    run = process("-", **options, stderr=subprocess.PIPE, capture_output=False)
    os.close(theirs)
    os.close(ours)
    assert run.returncode == 2
    name = {"stdin": b"standard input", "stdout": b"standard output"}[end]
    assert name + b" is a terminal" in run.stderr


def test_output_that_is_cut_off_is_an_error_without_a_buffer(process, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (500, 500))
    with (tmp_path / "out.png").open("wb") as out:
        run = process("-", "--format", "png", given=data("PNG"), stdout=out,
                      stderr=subprocess.PIPE, capture_output=False, preexec_fn=limit)  # fmt: skip
    assert run.returncode == 1
    assert b"standard output cannot be written: File too large" in run.stderr


@pytest.mark.parametrize(("end", "number"), [("input", 0), ("output", 1)])
def test_a_closed_end_is_refused(end, number, process):
    run = process("-", given=data("PNG"), preexec_fn=lambda: os.close(number))
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr == f"toonbox: standard {end} is closed\n".encode()


def test_messages_to_nobody(process, here):
    (here / "a.png").write_bytes(data("PNG"))
    run = process("a.png", "none.png", preexec_fn=lambda: os.close(2))
    assert (run.returncode, run.stdout) == (1, b"a.png -> a.toon.png\n")


def test_a_reader_that_goes_away(style_folder):
    command = [sys.executable, "-m", "toonbox", "-", "--style", str(style_folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stdin.write(data("BMP"))
    process.stdin.close()
    errors = process.stderr.read()
    assert process.wait(3600) == 1
    assert errors == b"toonbox: standard output cannot be written: Broken pipe\n"
