import os
from pathlib import Path

import pytest

from toonbox.images.formats import cartoon_below, cartoon_name, find_pictures


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(folder, *arguments, **options):
    result = find_pictures(folder, *arguments, **options)
    assert result.unreadable == []
    return [path.relative_to(folder).as_posix() for path in result.pictures]


def test_pictures_of_every_floor_sorted(tmp_path):
    make(tmp_path, "b.jpg", "a.PNG", "notes.txt", "x/c.webp", "x/y/d.heic", "x/y/e.ppm", "noname")
    assert found(tmp_path) == ["a.PNG", "b.jpg", "x/c.webp", "x/y/d.heic", "x/y/e.ppm"]


def test_hidden_ones_and_our_own_are_left_out(tmp_path):
    make(tmp_path, ".a.jpg", ".git/b.jpg", "c.toon.jpg", "d.ppm.toon.png", "toon.jpg", "x/.y/e.jpg")
    assert found(tmp_path) == ["toon.jpg"]


def test_a_hidden_folder_that_is_asked_for_is_searched(tmp_path):
    assert found(make(tmp_path / ".hidden", "a.jpg")) == ["a.jpg"]


def test_output_folder_is_left_out(tmp_path):
    make(tmp_path, "a.jpg", "out/a.jpg", "out/deep/b.jpg")
    assert found(tmp_path, output=tmp_path / "out") == ["a.jpg"]
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert found(tmp_path, output=tmp_path / "link") == ["a.jpg"]
    assert found(tmp_path, output=tmp_path / "not-yet")[0] == "a.jpg"


def test_output_may_be_the_folder_itself(tmp_path):
    assert found(make(tmp_path, "a.jpg"), output=tmp_path) == ["a.jpg"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.jpg"], [], ["a.jpg", "raw/B.JPG", "x/raw/c.jpg"]),
        (["**/*.jpg"], [], ["a.jpg", "raw/B.JPG", "x/raw/c.jpg"]),
        (["b.*"], [], ["raw/B.JPG", "x/b.png"]),
        (["x/*"], [], ["x/b.png", "x/raw/c.jpg"]),
        (["a.*", "x/b.*"], [], ["a.jpg", "x/b.png"]),
        ([], ["*.jpg"], ["x/b.png"]),
        ([], ["raw"], ["a.jpg", "x/b.png"]),
        ([], ["raw/"], ["a.jpg", "x/b.png"]),
        ([], ["x/raw", "a.*"], ["raw/B.JPG", "x/b.png"]),
        ([], ["x/*"], ["a.jpg", "raw/B.JPG"]),
        (["*.jpg"], ["raw/*"], ["a.jpg", "x/raw/c.jpg"]),
        (["*.gif"], [], []),
        (["notes.txt"], [], []),
    ],
)
def test_globs(include, exclude, expected, tmp_path):
    make(tmp_path, "a.jpg", "raw/B.JPG", "x/b.png", "x/raw/c.jpg", "notes.txt")
    assert found(tmp_path, include, exclude) == expected


def test_links_that_lead_in_a_circle_come_to_an_end(tmp_path):
    make(tmp_path, "a.jpg", "x/b.jpg", "y/c.jpg")
    (tmp_path / "x" / "up").symlink_to(tmp_path)
    (tmp_path / "x" / "y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "x").symlink_to(tmp_path / "x")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert found(tmp_path) == ["a.jpg", "x/b.jpg", "y/c.jpg"]


def test_a_linked_folder_is_searched_once_and_without_the_link_if_possible(tmp_path):
    make(tmp_path, "photos/z/a.jpg", "elsewhere/b.jpg", "elsewhere/c.jpg")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "photos" / "z")
    (tmp_path / "photos" / "m").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "n").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "photos") == ["m/b.jpg", "m/c.jpg", "z/a.jpg"]


def test_only_files_are_pictures(tmp_path):
    make(tmp_path, "folder.jpg/a.png")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "missing.jpg")
    assert found(tmp_path) == ["folder.jpg/a.png"]


def test_folders_that_cannot_be_read_are_named(tmp_path, locked_folders):
    make(tmp_path, "a.jpg", "locked/b.jpg")
    result = find_pictures(tmp_path)
    assert result.pictures == [tmp_path / "a.jpg"]
    assert result.unreadable == [(tmp_path / "locked", "Permission denied")]


def test_a_folder_that_is_not_there(tmp_path):
    result = find_pictures(tmp_path / "none")
    assert result.unreadable == [(tmp_path / "none", "No such file or directory")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.jpg", True), ("a.b.TIFF", True), ("a.toon.jpg", False), ("a.txt", False), ("jpg", False)],
)
def test_pictures_by_name(tmp_path, name, expected):
    make(tmp_path, name)
    assert found(tmp_path) == [name] * expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x/a.jpg", "a.toon.jpg"),
        ("a.PNG", "a.toon.PNG"),
        ("a.pcx", "a.toon.png"),
        ("a", "a.toon.png"),
    ],
)
def test_names_of_cartoons(name, expected):
    assert cartoon_name(Path(name)) == expected


def test_pictures_of_one_stem_get_cartoons_of_different_names():
    album = Path("album")
    names = ("a.jpg", "a.jpeg", "a.JPG", "a.png", "a.ppm", "a.heic", "x/a.jpg")
    targets = [cartoon_below(album / name, album, Path("out")).as_posix() for name in names]
    assert targets == [
        "out/a.toon.jpg",
        "out/a.toon.jpeg",
        "out/a.toon.JPG",
        "out/a.toon.png",
        "out/a.toon.ppm",
        "out/a.heic.toon.jpg",
        "out/x/a.toon.jpg",
    ]


def test_without_an_output_folder_cartoons_stand_beside_their_pictures():
    assert cartoon_below(Path("album/x/a.jpg"), Path("album")) == Path("album/x/a.toon.jpg")


def test_pictures_that_change_their_format_keep_their_old_suffix():
    targets = [
        cartoon_below(Path("album", name), Path("album"), format="png").name
        for name in ("a.jpg", "a.png", "a.heic")
    ]
    assert targets == ["a.jpg.toon.png", "a.toon.png", "a.heic.toon.png"]
