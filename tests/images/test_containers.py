from pathlib import Path

import pytest

from toonbox.errors import UsageError
from toonbox.images.formats import (
    becomes_video,
    cartoon_below,
    cartoon_name,
    container_of,
    find_pictures,
    is_video,
    toon_suffix,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.mp4", True), ("a.MOV", True), ("a.toon.mkv", True), ("a.jpg", False), ("mp4", False)],
)
def test_videos_by_name(name, expected):
    assert is_video(Path(name)) == expected
    assert becomes_video(Path(name), Path("a.png")) == expected


def test_a_gif_may_become_a_video():
    gif = Path("a.GIF")
    assert becomes_video(gif)
    assert becomes_video(gif, Path("a.mp4"))
    assert not becomes_video(gif, Path("a.webp"))


@pytest.mark.parametrize(
    ("suffix", "format", "expected"),
    [
        (".mp4", None, ".mp4"),
        (".MKV", None, ".MKV"),
        (".MKV", "mkv", ".MKV"),
        (".webm", None, ".webm"),
        (".mov", None, ".mov"),
        (".MOV", "mp4", ".mp4"),
        (".mp4", "mov", ".mov"),
        (".avi", None, ".mp4"),
        (".avi", "webm", ".webm"),
        (".mp4", ".MKV", ".mkv"),
        (".mp4", "png", ".mp4"),
    ],
)
def test_suffix_of_the_cartoon(suffix, format, expected):
    assert toon_suffix(suffix, format) == expected


@pytest.mark.parametrize("format", ["webem", "avi", "jpgg"])
def test_an_unknown_format_is_refused_for_videos_too(format):
    with pytest.raises(UsageError, match=f"cannot write {format}"):
        toon_suffix(".mp4", format)


def test_names_of_cartoons():
    assert cartoon_name(Path("x/clip.mp4")) == "clip.toon.mp4"
    assert cartoon_name(Path("clip.mov"), "webm") == "clip.toon.webm"
    names = [cartoon_below(Path("a", name), Path("a")).name for name in ("b.avi", "b.mp4")]
    assert names == ["b.avi.toon.mp4", "b.toon.mp4"]


def test_what_is_written():
    assert container_of(Path("a.M4V")).codec == "h264"
    assert container_of(Path("a.webm")).codecs == ("vp9", "av1")
    assert container_of(Path("a.MOV")).codecs == ("h264", "hevc")
    for name in ("a.avi", "a"):
        with pytest.raises(UsageError, match=r"only \.mp4 \.m4v \.mov \.mkv \.webm"):
            container_of(Path(name))


def test_folders_with_videos(tmp_path):
    for name in ("a.jpg", "b.mp4", "c.toon.mp4", "d.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_pictures(tmp_path).pictures] == ["a.jpg"]
    found = find_pictures(tmp_path, videos=True).pictures
    assert [path.name for path in found] == ["a.jpg", "b.mp4"]
    found = find_pictures(tmp_path, videos=True, include=["*.mp4"]).pictures
    assert [path.name for path in found] == ["b.mp4"]
