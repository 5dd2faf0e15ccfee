from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from toonbox.learn.config import CropConfig
from toonbox.learn.data import CropBatches, Pictures, pick
from toonbox.pixels import Uint8Array

SIZES = CropConfig(size=32, batch_size=4)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten noise pictures, the i-th of mean brightness about 20 i."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index in range(10):
        noise = random.integers(0, 40, (60, 80, 3)) + 20 * index
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{index}.png")
    return sorted(folder.iterdir())


def batches(files: list[Path], **options: object) -> CropBatches:
    photos, cartoons = Pictures(files, [], (40, 64)), Pictures(files, [], (32, 48))
    values = {"photos": photos, "cartoons": cartoons, "config": SIZES, "seed": 3}
    return CropBatches(**{**values, **options})


def draw_crop(
    file: Path, size: int, sides: tuple[int, int], random: np.random.Generator
) -> Uint8Array:
    (crop,) = Pictures([file], [], sides).crop(file, size, random, 0)
    return crop


def test_a_batch_depends_on_seed_and_step_alone(files: list[Path]) -> None:
    one, again, other = batches(files), batches(files), batches(files, seed=4)
    for step in (7, 0, 7):
        for name in ("photo", "cartoon"):
            assert torch.equal(one[step][name], again[step][name])
    assert not torch.equal(one[0]["photo"], one[1]["photo"])
    assert not torch.equal(one[0]["photo"], other[0]["photo"])
    assert one[0]["photo"].shape == (4, 3, 32, 32)
    assert one[0]["photo"].dtype == torch.uint8


def test_each_epoch_sees_each_file_once_in_its_own_order(files: list[Path]) -> None:
    order = [pick(files, 0, 0, position) for position in range(20)]
    assert sorted(order[:10]) == sorted(order[10:]) == files
    assert order[:10] != order[10:]


def test_processes_share_the_joint_batch(files: list[Path]) -> None:
    joint = batches(files)[5]["photo"]
    shares = [batches(files, share=(rank, 2))[5]["photo"] for rank in (0, 1)]
    assert torch.equal(joint[0::2], shares[0])
    assert torch.equal(joint[1::2], shares[1])


def test_every_fifth_batch_is_of_faces(files: list[Path]) -> None:
    dark, bright = files[:2], files[-2:]
    photos, cartoons = Pictures(dark, bright, (40, 64)), Pictures(bright, dark, (32, 48))
    data = batches(files, photos=photos, cartoons=cartoons)
    for step in range(10):
        batch = data[step]
        faces = step % 5 == 4
        assert (batch["photo"].float().mean() > 100) == faces
        assert (batch["cartoon"].float().mean() < 100) == faces


def test_nearly_blank_crops_are_drawn_again(tmp_path: Path) -> None:
    page = np.full((300, 300, 3), 255, np.uint8)
    page[:80, :80] = np.random.default_rng(0).integers(0, 256, (80, 80, 3))
    file = tmp_path / "page.png"
    Image.fromarray(page).save(file)
    crops = [draw_crop(file, 32, (300, 300), np.random.default_rng(seed)) for seed in range(30)]
    drawn = sum(bool((crop < 250).any()) for crop in crops)
    # A single draw meets the drawing about once in eleven times: three of thirty.
    assert drawn > 8


def test_pictures_are_turned_as_their_exif_says(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: the red half goes to the right
    file = tmp_path / "turned.png"
    picture.save(file, exif=exif)
    crop = draw_crop(file, 40, (40, 40), np.random.default_rng(0)).astype(int)
    columns = crop[..., 0].mean(axis=0)
    assert abs(columns[:15].mean() - columns[25:].mean()) > 200


def test_a_small_picture_is_enlarged_to_the_crop(tmp_path: Path) -> None:
    file = tmp_path / "small.png"
    noise = np.random.default_rng(0).integers(0, 256, (9, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    assert draw_crop(file, 32, (32, 64), np.random.default_rng(0)).shape == (32, 32, 3)
