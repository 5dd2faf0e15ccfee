import json
import os
import pty
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import signalling
from signalling import at_sixth
from toonbox.convert.job import Converter
from toonbox.images.picture import decode


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(path, size=(26, 20), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.random.default_rng(len(path.name)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(rgb).save(path, **options)
    return path


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_tree_is_mirrored(toonbox, here):
    for name in ("b.jpg", "a.PNG", "c.toon.jpg", ".hidden.jpg", "x/y/d.webp", ".x/e.jpg", "f.apng"):
        photo(here / "album" / name)
    (here / "album" / "notes.txt").write_text("x")
    code, output, errors = toonbox("album", "-o", "out")
    assert (code, errors) == (0, "4 done, 0 failed\n")
    assert output.splitlines() == [
        "album/a.PNG -> out/a.toon.PNG",
        "album/b.jpg -> out/b.toon.jpg",
        "album/f.apng -> out/f.toon.apng",
        "album/x/y/d.webp -> out/x/y/d.toon.webp",
    ]
    assert tree(here / "out") == ["a.toon.PNG", "b.toon.jpg", "f.toon.apng", "x/y/d.toon.webp"]
    assert decode(here / "out" / "f.toon.apng").format == "PNG"
    assert decode(here / "out" / "x" / "y" / "d.toon.webp").format == "WEBP"


def test_beside_the_pictures_and_with_photos_named_on_their_own(toonbox, here):
    photo(here / "album" / "a.jpg")
    photo(here / "album" / "deeper" / "b.jpg")
    photo(here / "other.jpg")
    code, output, _ = toonbox("album", "other.jpg")
    assert code == 0
    assert output.splitlines() == [
        "album/a.jpg -> album/a.toon.jpg",
        "album/deeper/b.jpg -> album/deeper/b.toon.jpg",
        "other.jpg -> other.toon.jpg",
    ]


def test_what_is_done_is_skipped_unless_forced(toonbox, here):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        photo(here / "album" / name)
    assert toonbox("album", "-o", "out")[0] == 0
    (here / "out" / "a.toon.jpg").write_bytes(b"mine")
    (here / "out" / "b.toon.jpg").unlink()
    code, output, errors = toonbox("album", "-o", "out")
    assert (code, output) == (0, "album/b.jpg -> out/b.toon.jpg\n")
    assert errors == "1 done, 2 skipped, 0 failed\n"
    assert (here / "out" / "a.toon.jpg").read_bytes() == b"mine"
    code, _, errors = toonbox("album", "-o", "out", "--force")
    assert (code, errors) == (0, "3 done, 0 failed\n")
    assert decode(here / "out" / "a.toon.jpg").rgb.shape == (20, 26, 3)


def test_a_photo_named_on_its_own_is_not_skipped(toonbox, here):
    photo(here / "album" / "a.jpg")
    photo(here / "b.jpg")
    (here / "b.toon.jpg").write_bytes(b"mine")
    code, _, errors = toonbox("album", "b.jpg")
    assert code == 1
    assert errors.splitlines() == [
        "toonbox: b.jpg: b.toon.jpg exists already; --force overwrites it",
        "1 done, 1 failed",
    ]
    assert (here / "b.toon.jpg").read_bytes() == b"mine"


def test_cartoons_named_with_their_photos_are_skipped(toonbox, here):
    for name in ("a.jpg", "b.png", "c.jpg", "a.toon.jpg", "b.png.toon.webp", "other.toon.jpg"):
        photo(here / name)
    code, output, errors = toonbox(*sorted(here.glob("*.*")), "--force")
    assert (code, errors.splitlines()) == (
        0,
        [
            "toonbox: 2 skipped as cartoons of other photos named here; "
            "to redraw one, name it without its photo",
            "4 done, 2 skipped, 0 failed",
        ],
    )
    written = [line.rpartition("/")[2] for line in output.splitlines()]
    assert written == ["a.toon.jpg", "b.toon.png", "c.toon.jpg", "other.toon.toon.jpg"]
    code, output, _ = toonbox("a.toon.jpg")
    assert (code, output) == (0, "a.toon.jpg -> a.toon.toon.jpg\n")


def test_pictures_of_one_stem_are_all_written(toonbox, here):
    for name in ("a.jpg", "a.jpeg", "a.png", "a.ppm", "a.pgm"):
        photo(here / "album" / name)
    assert toonbox("album", "-o", "out")[0] == 0
    names = ["a.toon.jpg", "a.toon.jpeg", "a.toon.png", "a.toon.ppm", "a.toon.pgm"]
    assert tree(here / "out") == sorted(names)
    code, output, errors = toonbox("album", "-o", "out")
    assert (code, output, errors) == (0, "", "0 done, 5 skipped, 0 failed\n")


def test_a_folder_in_another_format(toonbox, here):
    for name in ("a.jpg", "a.webp"):
        photo(here / "album" / name)
    for did in ("2 done, 0 failed\n", "0 done, 2 skipped, 0 failed\n"):
        assert toonbox("album", "-o", "out", "--format", "webp")[::2] == (0, did)
    assert tree(here / "out") == ["a.jpg.toon.webp", "a.toon.webp"]
    assert decode(here / "out" / "a.jpg.toon.webp").format == "WEBP"


def test_two_pictures_for_one_target_are_an_error_that_names_both(toonbox, here):
    photo(here / "x" / "a.jpg")
    photo(here / "y" / "a.jpg", size=(5, 5))
    for skipped in ("", "1 skipped, "):  # no less an error when the first one is done
        code, _, errors = toonbox("x", "y", "-o", "out")
        assert code == 1
        assert errors.splitlines() == [
            "toonbox: y/a.jpg: would be written to out/a.toon.jpg, which is taken by x/a.jpg",
            f"{0 if skipped else 1} done, {skipped}1 failed",
        ]
        assert decode(here / "out" / "a.toon.jpg").rgb.shape == (20, 26, 3)


def test_a_picture_in_two_folders_is_one(toonbox, here):
    photo(here / "album" / "x" / "a.png")
    code, output, errors = toonbox("album", "album/x", "album/x/a.png")
    assert (code, output) == (0, "album/x/a.png -> album/x/a.toon.png\n")
    assert errors == "1 done, 0 failed\n"


@pytest.mark.parametrize("arguments", [("",), ("album", "")])
def test_an_empty_name_is_not_the_current_folder(arguments, toonbox, here):
    photo(here / "album" / "a.png")
    code, _, errors = toonbox(*arguments)
    assert code == 2
    assert "A photo's name cannot be empty." in errors
    assert tree(here) == ["album/a.png"]


def test_globs(toonbox, here):
    for name in ("a.jpg", "b.png", "raw/c.jpg", "x/d.jpg", "x/e.gif"):
        photo(here / "album" / name)
    globs = ["--include", "*.jpg", "--include", "e.*", "--exclude", "raw/*", "--exclude", "a.*"]
    assert toonbox("album", "-o", "out", *globs)[0] == 0
    assert tree(here / "out") == ["x/d.toon.jpg", "x/e.toon.gif"]
    code, _, errors = toonbox("album", "-o", "out", "--include", "*.webp")
    assert code == 1
    assert "toonbox: album: is a folder without matching pictures\n" in errors


def test_folder_without_pictures(toonbox, here):
    (here / "album" / "deeper").mkdir(parents=True)
    code, _, errors = toonbox("album")
    assert code == 1
    assert "toonbox: album: is a folder without pictures\n" in errors


def test_output_inside_the_folder(toonbox, here):
    photo(here / "album" / "a.jpg")
    photo(here / "album" / "out" / "looks-like-a-photo.jpg")
    for expected in ("1 done, 0 failed\n", "0 done, 1 skipped, 0 failed\n"):
        code, _, errors = toonbox("album", "-o", "album/out")
        assert (code, errors) == (0, expected)
    assert tree(here / "album" / "out") == ["a.toon.jpg", "looks-like-a-photo.jpg"]


def test_folders_into_one_file_is_wrong_usage(toonbox, here):
    photo(here / "album" / "a.jpg")
    code, _, errors = toonbox("album", "-o", "out.png")
    assert code == 2
    assert "out.png is one file, but there are several photos" in errors


def test_a_folder_that_cannot_be_read_is_a_failure(toonbox, here, locked_folders):
    photo(here / "album" / "a.jpg")
    photo(here / "album" / "locked" / "b.jpg")
    code, output, errors = toonbox("album")
    assert (code, output) == (1, "album/a.jpg -> album/a.toon.jpg\n")
    assert errors.splitlines() == [
        "toonbox: album/locked: cannot be read: Permission denied",
        "1 done, 1 failed",
    ]


def test_json(toonbox, here):
    photo(here / "album" / "a.jpg")
    (here / "album" / "b.jpg").write_bytes(b"")
    photo(here / "album" / "c.jpg", size=(31, 17))
    photo(here / "album" / "d.gif", save_all=True, append_images=[Image.new("RGB", (26, 20))])
    toonbox("album/a.jpg", "-o", "out/")
    code, output, errors = toonbox("album", "-o", "out", "--json")
    assert code == 1
    lines = {line["input"]: line for line in map(json.loads, output.splitlines())}
    assert all(line.pop("seconds") >= 0 for line in lines.values())
    nothing = {"width": None, "height": None, "error": None}
    a, c = "out/a.toon.jpg", "out/c.toon.jpg"
    assert lines.pop("album/d.gif")["status"] == "ok"
    assert lines == {
        "album/a.jpg": {"input": "album/a.jpg", "output": a, "status": "skipped", **nothing},
        "album/b.jpg": {
            **{"input": "album/b.jpg", "output": "out/b.toon.jpg", "status": "failed", **nothing},
            "error": "album/b.jpg: is empty",
        },
        "album/c.jpg": {
            **{"input": "album/c.jpg", "output": c, "status": "ok", **nothing},
            **{"width": 31, "height": 17},
        },
    }
    assert errors.splitlines()[-2:] == [
        "toonbox: album/b.jpg: is empty",
        "2 done, 1 skipped, 1 failed",
    ]


@pytest.mark.parametrize("jobs", ["1", "7"])
def test_jobs(jobs, toonbox, here):
    for number in range(5):
        photo(here / "album" / f"{number}.png")
    code, output, _ = toonbox("album", "-o", "out", "--jobs", jobs)
    assert code == 0
    expected = [f"album/{number}.png -> out/{number}.toon.png" for number in range(5)]
    assert output.splitlines() == expected


def test_no_jobs_is_wrong_usage(toonbox):
    assert toonbox("a.png", "--jobs", "0")[0] == 2


def album_of_many(here):
    first = photo(here / "album" / "0" / "0.png", size=(160, 120))
    for number in range(1, 60):
        path = here / "album" / str(number % 7) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.hardlink_to(first)


def check_stopped_and_go_on(toonbox, here):
    """Check that what a stopped run has written is whole, run it again; give how many it wrote."""
    written = [path for path in (here / "out").rglob("*.png") if not path.name.startswith(".")]
    assert 1 <= len(written) < 60
    for path in written:
        assert decode(path).rgb.shape == (120, 160, 3)
    code, output, errors = toonbox("album", "-o", "out")
    assert code == 0, errors
    assert len(output.splitlines()) == 60 - len(written)
    assert errors == f"{60 - len(written)} done, {len(written)} skipped, 0 failed\n"
    assert len([path for path in tree(here / "out") if "/." not in path]) == 60
    return len(written)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing_half_written_and_goes_on(sent, toonbox, here, monkeypatch):
    album_of_many(here)
    with monkeypatch.context() as patch:
        signalled = at_sixth(Converter.convert, lambda: os.kill(os.getpid(), sent))
        patch.setattr(Converter, "convert", signalled)
        code, output, errors = toonbox("album", "-o", "out")
    assert code == 128 + sent
    assert not list((here / "out").rglob(".*"))
    written = check_stopped_and_go_on(toonbox, here)
    assert len(output.splitlines()) == written, "what was written is told"
    assert f"{written} done, 0 failed\n" in errors


def test_a_killed_run_leaves_nothing_half_written_and_goes_on(toonbox, here, style_folder):
    album_of_many(here)
    arguments = ("album", "-o", "out", "--style", style_folder)
    killed = subprocess.run(
        [sys.executable, signalling.__file__, str(int(signal.SIGKILL)), *arguments]
    )
    assert killed.returncode == -signal.SIGKILL
    check_stopped_and_go_on(toonbox, here)


def test_progress_shows_count_and_rate(here, style_folder):
    for number in range(8):
        photo(here / "album" / f"{number}.png")
    ours, theirs = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-m", "toonbox", "album", "--json", "--style", str(style_folder)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert run.returncode == 0
    assert len([json.loads(line) for line in run.stdout.splitlines()]) == 8
    assert "8/8" in shown
    assert "/s" in shown


def test_outcomes_and_failures_have_lines_of_their_own_above_the_bar(here, style_folder):
    for number in range(4):
        photo(here / "album" / f"{number}.png")
    (here / "album" / "broken.png").write_bytes(b"")
    ours, theirs = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-m", "toonbox", "album", "--style", str(style_folder)],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = re.sub(r"\x1b\[[\d;]*m", "", os.read(ours, 100_000).decode())  # without colours
    os.close(ours)
    assert run.returncode == 1
    lines = re.split(r"[\r\n]|\x1b\[2K", shown)
    for number in range(4):
        assert f"album/{number}.png -> album/{number}.toon.png" in lines
    assert "toonbox: album/broken.png: is empty" in lines
    assert "4 done, 1 failed" in lines
