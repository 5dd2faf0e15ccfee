"""Links, odd names, full and read-only disks, and runs that are stopped at any moment."""

import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter

import av
import cv2
import numpy as np
import pytest
from PIL import Image

import stopped_at
from picture_files import file_of
from toonbox import atomic as files
from toonbox.engine.style import load_style
from toonbox.errors import PictureError
from toonbox.images import picture as images
from toonbox.images.picture import decode
from toonbox.video import pipeline as segments
from video_files import Clip

RGB = np.random.default_rng(1).integers(0, 256, (20, 26, 3), dtype=np.uint8)
PNG = file_of(Image.fromarray(RGB))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cartoon(style_folder):
    return load_style(style_folder, engine="onnxruntime")(RGB)


def start(style_folder, *arguments, **options):
    """Start the real command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "toonbox", *arguments, "--style", str(style_folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_links_to_pictures(toonbox, here, cartoon):
    (here / "real.png").write_bytes(PNG)
    (here / "link.png").symlink_to("real.png")
    (here / "nowhere.png").symlink_to("gone.png")
    (here / "ring.png").symlink_to("ring.png")
    code, output, errors = toonbox("link.png", "nowhere.png", "ring.png", "-o", "out")
    assert (code, output) == (1, "link.png -> out/link.toon.png\n")
    assert errors.splitlines() == [
        "toonbox: nowhere.png: no such file",
        "toonbox: ring.png: cannot be read: Too many levels of symbolic links",
        "1 done, 2 failed",
    ]
    np.testing.assert_array_equal(decode(here / "out" / "link.toon.png").rgb, cartoon)


def test_a_link_in_the_place_of_the_cartoon_is_replaced_and_not_followed(toonbox, here, cartoon):
    (here / "photo.png").write_bytes(PNG)
    for place in ("photo.png", "gone.png"):
        out = here / "out.png"
        out.unlink(missing_ok=True)
        out.symlink_to(place)
        if place == "photo.png":  # it is there: only with --force
            assert toonbox("photo.png", "-o", "out.png")[0] == 1
        assert toonbox("photo.png", "-o", "out.png", "--force")[0] == 0
        assert not out.is_symlink()
        np.testing.assert_array_equal(decode(out).rgb, cartoon)
        assert (here / "photo.png").read_bytes() == PNG
        assert not (here / "gone.png").exists()


def test_an_output_folder_that_is_a_link(toonbox, here):
    (here / "photo.png").write_bytes(PNG)
    (here / "real").mkdir()
    (here / "link").symlink_to("real", target_is_directory=True)
    assert toonbox("photo.png", "-o", "link")[0] == 0
    assert names(here / "real") == ["photo.toon.png"]


def test_what_is_no_file_is_never_replaced(toonbox, here):
    (here / "photo.png").write_bytes(PNG)
    os.mkfifo(here / "pipe.png")
    (here / "folder.png").mkdir()
    for place in ("pipe.png", "/dev/null"):
        code, _, errors = toonbox("photo.png", "-o", place, "--force")
        assert code == 1
        assert f"{place} cannot be written: it exists and is not a file" in errors
    assert names(here) == ["folder.png", "photo.png", "pipe.png"]


def test_up_and_down_the_tree(toonbox, here):
    (here / "album" / "x").mkdir(parents=True)
    (here / "album" / "x" / "a.png").write_bytes(PNG)
    code, output, _ = toonbox("album/../album/x/..", "-o", "new/../out")
    assert (code, output) == (0, "album/../album/x/../x/a.png -> new/../out/x/a.toon.png\n")
    assert names(here / "out" / "x") == ["a.toon.png"]


NAMES = [
    b"\xff\xfe.png",
    b"two\nlines.png",
    b"-o.png",
    b"\x1b[31m.png",
    b" .png",
    b"l" * 246 + b".png",
]


def test_odd_names(toonbox, here):
    (here / "album").mkdir()
    for name in NAMES:
        with open(os.path.join(b"album", name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(PNG)
    for arguments in ([], ["--json", "--force"]):
        code, _, errors = toonbox("album", "-o", "out", *arguments)
        assert (code, errors) == (0, f"{len(NAMES)} done, 0 failed\n")
    toons = {name[:-4] + b".toon.png" for name in NAMES}
    assert set(os.listdir(b"out")) == toons  # noqa: PTH208


def test_a_name_too_long_for_its_cartoon_is_a_failure(toonbox, here):
    (here / ("l" * 250 + ".png")).write_bytes(PNG)
    (here / "a.png").write_bytes(PNG)
    code, _, errors = toonbox(".", "-o", "out")
    assert code == 1
    assert "cannot be written: File name too long" in errors
    assert names(here / "out") == ["a.toon.png"]


def test_a_pipe_with_a_name(here, style_folder, cartoon):
    os.mkfifo(here / "pipe.png")
    process = start(style_folder, "pipe.png", "-o", "out.png", "--engine", "onnxruntime")
    (here / "pipe.png").write_bytes(PNG)
    assert process.wait(3600) == 0, process.stderr.read()
    np.testing.assert_array_equal(decode(here / "out.png").rgb, cartoon)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "JPEG", "WEBP", "PPM"])
@pytest.mark.parametrize("change", ["shorter", "other"])
def test_a_file_that_changes_while_it_is_read(format, change, here, monkeypatch):
    large = np.random.default_rng(2).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    (here / "photo").write_bytes(file_of(Image.fromarray(large), format))
    real = images.load

    def changed(*arguments):
        if change == "shorter":
            os.truncate(here / "photo", 600)
        else:
            (here / "photo").write_bytes(file_of(Image.fromarray(large[:50, :40]), format))
        return real(*arguments)

    monkeypatch.setattr(images, "load", changed)
    if format == "WEBP":  # read whole with its header
        np.testing.assert_array_equal(decode(here / "photo").rgb.shape, large.shape)
    else:
        with pytest.raises(PictureError, match=r"photo: (ends before|is damaged)"):
            decode(here / "photo")


def test_a_deep_file_that_changes_between_its_two_readings(here, monkeypatch):
    values = np.random.default_rng(2).integers(0, 65536, (200, 300), dtype=np.uint16)
    deep = np.repeat(values[..., None], 3, axis=2)
    cv2.imwrite("deep.png", deep)
    real, opened = images.open_image, []

    def changed(stream, name, max_pixels):
        if opened:
            cv2.imwrite("deep.png", deep[:50])
        opened.append(name)
        return real(stream, name, max_pixels)

    monkeypatch.setattr(images, "open_image", changed)
    with pytest.raises(PictureError, match=r"deep\.png: "):
        decode(here / "deep.png")
    assert len(opened) == 2


@pytest.fixture
def disk(here):
    """Mount a small disk of memory."""
    folder = here / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def album(here, count=4, size=(300, 200)):
    """Make pictures that fill about 180 kB each as PNG."""
    (here / "album").mkdir()
    for number in range(count):
        random = np.random.default_rng(number)
        rgb = random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(rgb).save(here / "album" / f"{number}.png")


def test_full_disk(toonbox, here, disk):
    album(here)
    code, _, errors = toonbox("album", "-o", "disk")
    assert code == 1
    assert "1 done, 3 failed" in errors
    assert errors.count("cannot be written: No space left on device") == 3
    (written,) = disk.iterdir()
    assert decode(written).rgb.shape == (200, 300, 3)
    code, _, errors = toonbox("album", "-o", "elsewhere")
    assert (code, errors) == (0, "4 done, 0 failed\n")


def test_read_only_disk(toonbox, here, disk):
    (here / "photo.png").write_bytes(PNG)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, _, errors = toonbox("photo.png", "-o", "disk/new/out.png")
    assert code == 1
    assert errors == (
        "toonbox: photo.png: disk/new/out.png cannot be written: Read-only file system\n"
    )
    assert names(disk) == []


def test_a_limit_on_file_sizes(here, style_folder):
    """The same as a full disk, but needs no rights."""
    album(here, count=2)
    limit = (100_000, 100_000)
    process = start(
        style_folder,
        *("album", "-o", "out"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    _, errors = process.communicate(timeout=3600)
    assert process.returncode == 1
    assert errors.count(b"cannot be written: File too large") == 2
    assert names(here / "out") == []


# How a run is stopped, and the exit codes that says so: of Python's start, of the command.
SIGNALS = {
    "ctrl-c": (["SIGINT"], {-signal.SIGINT, 130}),
    "ctrl-c twice": (["SIGINT", "SIGINT"], {-signal.SIGINT, 130}),
    "terminated": (["SIGTERM"], {-signal.SIGTERM, 143}),
    "killed": (["SIGKILL"], {-signal.SIGKILL}),
}
# Each moment in its turn; `TOONBOX_MOMENTS=50 pytest -k any_moment -s` tries more, and tells.
MOMENTS = int(os.environ.get("TOONBOX_MOMENTS", "4"))
RUNS = {
    "folder": ("album", "-o", "out"),
    "video": ("clip.mp4", "-o", "out/clip.mp4", "--stabilize", "off"),
    "video in segments": ("clip.mp4", "-o", "out/clip.mp4", "--stabilize", "off", "--resume"),
}


def begin(here, style_folder, arguments, moments="-"):
    """Run the command in a process of its own, with signals at the moments."""
    return subprocess.run(
        [
            sys.executable,
            stopped_at.__file__,
            "events",
            moments,
            *arguments,
            "--style",
            style_folder,
        ],
        capture_output=True,
        # Where the tests run in the background, children inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def whole(path):
    """Tell what is in a picture or a video; one that is not whole raises."""
    if path.suffix == ".png":
        return decode(path).rgb.shape
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def visible(folder):
    """Tell what each file in there is, but for hidden ones."""
    return {path.name: whole(path) for path in folder.glob("[!.]*")}


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_stopped_at_any_moment(run, here, toonbox, style_folder, monkeypatch):
    """Files with final names are whole, nothing else is left, and the same command goes on."""
    monkeypatch.setattr(segments, "KEPT_LENGTH", stopped_at.SEGMENT)
    album(here, count=3, size=(90, 70))
    Clip(pts=list(range(10))).make(here / "clip.mp4")
    arguments, out = RUNS[run], here / "out"
    out.mkdir()
    assert begin(here, style_folder, arguments).returncode == 0
    expected, events = visible(out), int((here / "events").read_text())
    chance, codes = random.Random(run), Counter()
    for number, (how, (sent, stopped)) in zip(
        range(MOMENTS), itertools.cycle(SIGNALS.items()), strict=False
    ):
        shutil.rmtree(out)
        out.mkdir()
        at = sorted(chance.sample(range(1, events + 1), len(sent)))
        moments = ",".join(f"{name}:{moment}" for name, moment in zip(sent, at, strict=True))
        done = begin(here, style_folder, arguments, moments)
        told = f"{number}: {how} at {moments}: {done.returncode} {done.stderr.decode()}"
        codes[how, done.returncode] += 1
        assert done.returncode in stopped | {0}, told  # it may have been done already
        assert visible(out).items() <= expected.items(), told
        if done.returncode == 0:
            assert visible(out) == expected, told
        if how != "killed":
            kept = [path.name for path in out.rglob(".*")]
            assert set(kept) <= ({".clip.mp4.segments"} if "--resume" in arguments else set()), told
        files._remove_leftovers.cache_clear()  # as in the new process that the next run would be
        exists = run != "folder" and visible(out) == expected  # which is told, without --force
        assert toonbox(*arguments)[0] == exists, told
        assert visible(out) == expected, told
        assert names(out) == sorted(expected), told
    print(run, f"of {events} events:", dict(codes))
