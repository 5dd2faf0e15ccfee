"""The cache of layers, and the crops that are cut from it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from toonbox.errors import DataError, PictureError, TrainingError
from toonbox.learn import layers as module
from toonbox.learn.config import CropConfig
from toonbox.learn.data import CropBatches, Drawings
from toonbox.learn.inspect import read_scaled
from toonbox.learn.layers import prepare_layers
from toonbox.learn.representations.drawing import CHANNELS, Layers, Look
from toonbox.learn.workers import worker_pool

pytestmark = pytest.mark.usefixtures("unmeasured")
SIDES = (48, 64)


def at_one(step: int) -> tuple[float, float, float]:
    return 1.0, 1.0, 1.0


def by_step(step: int) -> tuple[float, float, float]:
    return 1.0, 1.0, float(step % 3)


def make_photos(folder: Path, count: int = 3) -> list[Path]:
    folder.mkdir()
    for index in range(count):
        noise = np.random.default_rng(index).integers(0, 256, (9, 11, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((96, 80), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """A worker process, started once."""
    with worker_pool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def cached(
    photos: list[Path], process: ProcessPoolExecutor, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """The layers of the photos, computed by the worker process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "worker_pool", lambda _: nullcontext(process))
        return prepare_layers(photos, SIDES, tmp_path_factory.mktemp("layers"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Compute layers in this process; the list names the photos whose layers are computed."""
    computed: list[Path] = []

    class Pool:
        def submit(self, work, photo, *rest):
            computed.append(photo)
            future: Future = Future()
            future.set_result(work(photo, *rest))
            return future

    @contextmanager
    def pool(_: int):
        yield Pool()

    monkeypatch.setattr(module, "worker_pool", pool)
    return computed


def test_each_photo_is_computed_once(
    photos: list[Path], cached: list[Path], here: list[Path], tmp_path: Path
) -> None:
    assert prepare_layers(photos, SIDES, cached[0].parent) == cached
    assert here == []
    # Another name does not matter, and two of one content are one.
    copies = [tmp_path / name for name in ("a.png", "b.png")]
    for copy in copies:
        copy.write_bytes(photos[0].read_bytes())
    assert prepare_layers(copies, SIDES, cached[0].parent) == [cached[0]] * 2
    assert here == []
    assert len(set(prepare_layers(copies, SIDES, tmp_path / "other"))) == 1
    assert len(here) == 1


def test_content_and_size_make_the_name(
    photos: list[Path], cached: list[Path], here: list[Path]
) -> None:
    folder = cached[0].parent
    smaller = prepare_layers(photos[:1], (40, 40), folder)
    assert here == photos[:1]
    assert smaller != cached[:1]
    assert min(np.load(smaller[0], mmap_mode="r").shape[:2]) == 40
    assert cached[0].exists()


def test_layers_are_those_of_the_photo_at_its_size(photos: list[Path], cached: list[Path]) -> None:
    for photo, file in zip(photos, cached, strict=True):
        packed = np.load(file)
        assert packed.dtype == np.uint8
        assert SIDES[0] <= min(packed.shape[:2]) <= SIDES[1]
        scaled = read_scaled(photo, min(packed.shape[:2]))
        assert (packed == Layers.of(scaled).packed).all()


@pytest.mark.parametrize("length", [0, 60, -1])
def test_a_truncated_file_is_computed_again(
    photos: list[Path], here: list[Path], tmp_path: Path, length: int
) -> None:
    (file,) = prepare_layers(photos[:1], SIDES, tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    assert prepare_layers(photos[:1], SIDES, tmp_path) == [file]
    assert file.read_bytes() == whole
    assert len(here) == 2


def test_a_file_of_something_else_is_computed_again(
    photos: list[Path], here: list[Path], tmp_path: Path
) -> None:
    (file,) = prepare_layers(photos[:1], SIDES, tmp_path)
    np.save(file, np.zeros((4, 4, 3), np.uint8))
    prepare_layers(photos[:1], SIDES, tmp_path)
    assert np.load(file).shape[2] == CHANNELS


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_a_damaged_photo_is_named(
    photos: list[Path],
    tmp_path: Path,
    process: ProcessPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(photos[0].read_bytes()[:200] if content is None else content)
    # In a worker process: the error must survive the way back.
    monkeypatch.setattr(module, "worker_pool", lambda _: nullcontext(process))
    with pytest.raises(PictureError, match=r"damaged\.png: "):
        prepare_layers([damaged], SIDES, tmp_path / "layers", workers=1)
    assert list((tmp_path / "layers").iterdir()) == []


def test_layers_are_kept_where_the_cache_is(
    photos: list[Path], cached: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path))
    shutil.copytree(cached[0].parent, tmp_path / "drawings")
    assert prepare_layers(photos, SIDES) == [tmp_path / "drawings" / file.name for file in cached]


def test_a_missing_photo_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: No such file"):
        prepare_layers([tmp_path / "gone.png"], SIDES, tmp_path / "layers")


def halfway(blocked: str) -> str:
    """A program that computes layers and stops in the middle of writing the first file."""
    return f"""
import os, signal, sys, time
from pathlib import Path
import numpy as np
from toonbox.learn import layers

def save(file, packed):
    Path(file).write_bytes(b"half")
    Path(sys.argv[2], "started").touch()
    {blocked}

def work(*arguments):
    layers.np.save = save
    return write(*arguments)

write = layers._write_layers
layers._write_layers = work
if __name__ == "__main__":
    photos = sorted(Path(sys.argv[1]).iterdir())
    layers.prepare_layers(photos, (48, 64), Path(sys.argv[2], "layers"), workers=1)
"""


def start(program: str, photos: list[Path], folder: Path) -> subprocess.Popen[str]:
    script = folder / "program.py"
    script.write_text(program)
    command = [sys.executable, str(script), str(photos[0].parent), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_a_killed_worker_leaves_no_half_file(
    photos: list[Path], here: list[Path], tmp_path: Path
) -> None:
    process = start(halfway("os.kill(os.getpid(), signal.SIGKILL)"), photos, tmp_path)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1
    assert TrainingError.__name__ in errors
    assert "a worker process was killed" in errors
    assert all(left.name.startswith(".") for left in (tmp_path / "layers").iterdir())
    # The next run finishes, and clears away what the killed worker could not.
    files = prepare_layers(photos, SIDES, tmp_path / "layers")
    assert sorted((tmp_path / "layers").iterdir()) == sorted(files)


def test_ctrl_c_leaves_no_half_file(photos: list[Path], tmp_path: Path) -> None:
    wait = "while not Path(sys.argv[2], 'go').exists(): time.sleep(0.01)"
    process = start(halfway(wait + "\n    raise OSError"), photos, tmp_path)
    while not (tmp_path / "started").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: main process and worker
    (tmp_path / "go").touch()
    _, errors = process.communicate(timeout=600)
    assert process.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in errors
    assert list((tmp_path / "layers").iterdir()) == []


@pytest.mark.parametrize("seed", range(4))
def test_crops_agree_with_the_whole_picture(cached: list[Path], seed: int) -> None:
    look = Look(even=0)  # even areas are those of the crop
    layers = Layers(np.load(cached[0]))
    whole = np.dstack([layers.packed[..., :3], *layers.draw(look)])
    whole, size = whole.astype(int), 24
    drawings = Drawings(cached, [], look, at_one)
    crop = np.dstack(drawings.crop(cached[0], size, np.random.default_rng(seed), 0)).astype(int)
    found = []
    for place in np.ndindex(whole.shape[0] - size + 1, whole.shape[1] - size + 1):
        window = whole[place[0] : place[0] + size, place[1] : place[1] + size]
        found += [w for w in (window, window[:, ::-1]) if (w[..., :3] == crop[..., :3]).all()]
    assert len(found) == 1
    # Filters that look beyond the margin differ by the rounding of 8 bits.
    assert np.abs(found[0] - crop).max() <= 1


def batches(cached: list[Path], **options: object) -> CropBatches:
    values = {
        "photos": Drawings(cached, [], Look(), by_step),
        "cartoons": None,
        "config": CropConfig(size=24, batch_size=4),
        "seed": 3,
    }
    return CropBatches(**{**values, **options})


def test_a_batch_is_a_function_of_seed_and_step_alone(cached: list[Path]) -> None:
    one, again = batches(cached), batches(cached)
    for step in (5, 0, 5):
        assert sorted(one[step]) == ["left_out", "photo", "target"]
        assert one[step]["left_out"].shape == (4, 1, 24, 24)
        assert all(torch.equal(one[step][name], again[step][name]) for name in one[step])
    assert not torch.equal(one[0]["photo"], one[1]["photo"])
    assert not torch.equal(one[0]["photo"], batches(cached, seed=4)[0]["photo"])


def test_processes_share_the_joint_batch(cached: list[Path]) -> None:
    joint = batches(cached)[5]
    for rank in (0, 1):
        share = batches(cached, share=(rank, 2))[5]
        assert all(torch.equal(joint[name][rank::2], share[name]) for name in joint)


def test_the_target_follows_the_knobs_of_the_step(cached: list[Path]) -> None:
    drawn = Drawings(cached, [], Look(dashes=1.0), by_step)
    crops = [drawn.crop(cached[0], 40, np.random.default_rng(0), step) for step in range(4)]
    assert all((crop[0] == crops[0][0]).all() for crop in crops)
    assert (crops[3][1] == crops[0][1]).all()
    assert (crops[1][1] != crops[0][1]).any()


def test_every_fifth_drawn_batch_is_of_faces(cached: list[Path]) -> None:
    def colours(step: int, *layers: list[Path]) -> set[tuple[int, ...]]:
        data = batches(cached, photos=Drawings(*layers, Look(), at_one))
        pixels = data[step]["photo"].permute(0, 2, 3, 1).reshape(-1, 3)
        return set(map(tuple, pixels.tolist()))

    files, faces = cached[:1], cached[1:2]
    for step in range(5):
        assert colours(step, files, faces) == colours(step, faces if step == 4 else files, [])
    assert colours(4, files, []) != colours(4, faces, [])
