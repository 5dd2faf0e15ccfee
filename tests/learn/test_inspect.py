import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toonbox.errors import DataError
from toonbox.learn.inspect import find_pictures, inspect_folder, is_blank
from toonbox.pixels import Uint8Array


def scene(seed: int, height: int = 96, width: int = 120) -> Image.Image:
    """Draw smooth random blobs of colour, so that every seed is another picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def save(image: Image.Image, path: Path, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def test_ordinary_pictures_are_usable_and_sorted(tmp_path: Path) -> None:
    second = save(scene(1, 96, 120), tmp_path / "b.png")
    third = save(scene(2, 80, 200), tmp_path / "deeper" / "c.webp")
    first = save(scene(3, 128, 64), tmp_path / "a.JPG")
    (tmp_path / "notes.txt").write_text("not a picture, and not called one")
    report = inspect_folder(tmp_path, minimum_side=64)
    assert report.files == report.usable == [first, second, third]
    assert report.sizes == [(64, 128), (120, 96), (200, 80)]
    assert report.text() == (
        f"{tmp_path}: 3 found, 3 usable (width 64 to 200, median 120; height 80 to 128, median 96)"
    )


def test_hidden_files_and_our_cartoons_are_ignored(tmp_path: Path) -> None:
    seen = save(scene(1), tmp_path / "seen.png")
    save(scene(2), tmp_path / ".hidden.png")
    save(scene(3), tmp_path / ".cache" / "c.png")
    (tmp_path / "folder.png").mkdir()
    save(scene(4), tmp_path / "seen.toon.png")  # what `toonbox` writes beside a photo
    assert find_pictures(tmp_path) == [seen]


def test_unreadable_files_are_named_with_their_reason(tmp_path: Path) -> None:
    save(scene(1), tmp_path / "good.png")
    whole = save(scene(2), tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.gif").write_text("hello")
    report = inspect_folder(tmp_path, minimum_side=64)
    reasons = {path.name: why for path, why in report.problems["unreadable"].items()}
    assert reasons.keys() == {"cut.jpg", "empty.png", "text.gif"}
    assert reasons["cut.jpg"] == "ends before the picture is complete"
    assert reasons["empty.png"] == "is empty"
    assert reasons["text.gif"] == "is text, not a picture"
    assert [path.name for path in report.usable] == ["good.png"]
    assert "3 unreadable: cut.jpg (" in report.text()


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif", ".gif"])
def test_a_picture_cut_short_in_any_format_is_unreadable(tmp_path: Path, suffix: str) -> None:
    save(scene(1), tmp_path / "good.png")
    cut = save(scene(2), tmp_path / f"cut{suffix}")
    os.truncate(cut, cut.stat().st_size // 2)
    report = inspect_folder(tmp_path, minimum_side=64)
    assert [*report.problems["unreadable"]] == [cut]


def test_a_picture_too_large_to_be_honest_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(scene(1, 64, 64), tmp_path / "good.png")
    save(scene(2, 200, 200), tmp_path / "huge.png")
    monkeypatch.setattr("toonbox.learn.inspect.MAX_PIXELS", 64 * 64)
    report = inspect_folder(tmp_path, minimum_side=64)
    ((path, reason),) = report.problems["unreadable"].items()
    assert path.name == "huge.png"
    assert "larger than the limit of 4,096 pixels" in reason


def test_small_pictures_are_left_out_by_their_short_side(tmp_path: Path) -> None:
    exact = save(scene(1, 64, 300), tmp_path / "exact.png")
    short = save(scene(2, 63, 300), tmp_path / "short.png")
    report = inspect_folder(tmp_path, minimum_side=64)
    assert (report.usable, [*report.problems["under 64 pixels"]]) == ([exact], [short])
    assert "1 under 64 pixels: short.png" in report.text()


def test_sizes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    scene(1, height=80, width=160).save(tmp_path / "turned.jpg", exif=exif)
    assert inspect_folder(tmp_path, minimum_side=64).sizes == [(80, 160)]


def test_copies_are_found_after_resizing_and_recompression(tmp_path: Path) -> None:
    first = save(scene(1, 192, 240), tmp_path / "a.png")
    smaller = save(scene(1, 192, 240).resize((180, 144)), tmp_path / "b.png")
    coarser = save(scene(1, 192, 240), tmp_path / "c.jpg", quality=40)
    other = save(scene(2, 192, 240), tmp_path / "d.png")
    report = inspect_folder(tmp_path, minimum_side=64)
    assert report.problems["near-duplicate"] == dict.fromkeys(
        (smaller, coarser), f"like {first.name}"
    )
    assert report.usable == [first, other]
    assert "2 near-duplicate: b.png (like a.png), c.jpg (like a.png)" in report.text()


def test_flat_pages_of_different_colours_are_no_copies(tmp_path: Path) -> None:
    for name, colour in {"red": (220, 40, 40), "green": (40, 180, 60)}.items():
        page = Image.new("RGB", (100, 100), colour)
        page.paste((0, 0, 0), (40, 20, 60, 100))  # 16 %: too much for a blank page
        save(page, tmp_path / f"{name}.png")
    report = inspect_folder(tmp_path, minimum_side=64)
    assert len(report.usable) == 2
    assert not report.problems["near-duplicate"]


def test_the_same_page_with_another_figure_is_no_copy(tmp_path: Path) -> None:
    page = scene(1, 192, 192)
    save(page, tmp_path / "a.png")
    page.paste((255, 0, 255), (60, 40, 130, 190))
    save(page, tmp_path / "b.png")
    assert len(inspect_folder(tmp_path, minimum_side=64).usable) == 2


def test_blank_pages_are_left_out(tmp_path: Path) -> None:
    kept = save(scene(1), tmp_path / "scene.png")
    figure = Image.new("RGB", (600, 600), "white")
    figure.paste((0, 0, 0), (0, 0, 100, 300))
    blank = save(figure, tmp_path / "figure.png")
    report = inspect_folder(tmp_path, minimum_side=64)
    assert (report.usable, [*report.problems["mostly blank"]]) == ([kept], [blank])
    assert "1 mostly blank: figure.png" in report.text()


def test_pictures_without_colour_are_told_and_kept(tmp_path: Path) -> None:
    coloured = save(scene(1), tmp_path / "a.png")
    grey = save(scene(2).convert("L"), tmp_path / "b.png")
    tint = np.asarray(scene(3).convert("L"), dtype=np.uint8) // 2
    sepia = np.stack([tint + np.uint8(60), tint + np.uint8(40), tint], axis=2)
    print_ = save(Image.fromarray(sepia), tmp_path / "c.png")
    report = inspect_folder(tmp_path, minimum_side=64)
    assert report.usable == [coloured, grey, print_]
    assert [*report.problems["black-and-white"]] == [grey, print_]
    assert "2 black-and-white: b.png, c.png" in report.text()


def test_long_lists_are_cut_in_the_text_only(tmp_path: Path) -> None:
    save(scene(0), tmp_path / "z.png")
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    report = inspect_folder(tmp_path, minimum_side=64)
    assert "0.png (is empty), 1.png (is empty), and 3 more" in report.text(limit=2)
    assert len(report.problems["unreadable"]) == 5


def test_a_folder_without_use_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing: No such file or directory"):
        inspect_folder(tmp_path / "missing", minimum_side=64)
    with pytest.raises(DataError, match=r": no pictures$"):
        inspect_folder(tmp_path, minimum_side=64)
    save(scene(1, 20, 20), tmp_path / "small.png")
    with pytest.raises(DataError, match=r"no usable picture(.|\n)*under 64 pixels: small\.png"):
        inspect_folder(tmp_path, minimum_side=64)


def commonest_colour_covers(rgb: Uint8Array, share: float) -> bool:
    """Ask the same of every colour that occurs, as the definition says it."""
    colours, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
    commonest = colours[counts.argmax()].astype(int)
    return bool((np.abs(rgb.astype(int) - commonest).max(axis=2) <= 4).mean() > share)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (250, 128, 3)])
@pytest.mark.parametrize(("covered", "blank"), [(0.10, True), (0.20, False), (1.0, False)])
def test_is_blank_agrees_with_its_definition(
    background: tuple[int, int, int], covered: float, blank: bool
) -> None:
    rng = np.random.default_rng(5)
    crop = np.full((60, 50, 3), background, np.uint8)
    rows = round(covered * 60)
    crop[:rows] = rng.integers(0, 256, (rows, 50, 3), dtype=np.uint8)
    assert is_blank(crop) == commonest_colour_covers(crop, 0.85) == blank


def test_compression_noise_and_shading() -> None:
    rng = np.random.default_rng(6)
    paper = (250 + rng.integers(-2, 3, (64, 64, 3))).astype(np.uint8)
    assert is_blank(paper)
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (64, 64, 3)).copy()
    assert not is_blank(ramp)


def test_the_share_that_counts_as_blank_can_be_chosen() -> None:
    crop = np.zeros((10, 10, 3), np.uint8)
    crop[:3] = 200
    assert is_blank(crop, share=0.6)
    assert not is_blank(crop, share=0.7)
