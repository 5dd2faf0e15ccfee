import pytest

from toonbox.errors import OutputError, UsageError
from toonbox.images.formats import (
    READ_SUFFIXES,
    USUAL_SUFFIXES,
    check_options,
    format_named,
    toon_suffix,
    writable_format,
)


@pytest.mark.parametrize(
    ("name", "format", "suffix"),
    [
        ("jpeg", "JPEG", ".jpg"),
        ("JPG", "JPEG", ".jpg"),
        (".png", "PNG", ".png"),
        ("apng", "PNG", ".png"),
        ("webp", "WEBP", ".webp"),
        ("tif", "TIFF", ".tif"),
        ("tiff", "TIFF", ".tif"),
        ("avif", "AVIF", ".avif"),
        ("bmp", "BMP", ".bmp"),
        ("gif", "GIF", ".gif"),
        ("pnm", "PPM", ".ppm"),
    ],
)
def test_names_of_formats(name, format, suffix):
    assert format_named(name) == format
    assert USUAL_SUFFIXES[format] == suffix


@pytest.mark.parametrize("name", ["heic", "pcx", "", "JPEG 2000"])
def test_names_that_are_none(name):
    with pytest.raises(UsageError, match="only apng avif bmp gif jfif jpe jpeg jpg pbm pgm png"):
        format_named(name)


@pytest.mark.parametrize(
    ("suffix", "format", "expected"),
    [
        (".JPG", None, ".JPG"),
        (".jpeg", "jpg", ".jpeg"),
        (".jpeg", "png", ".png"),
        (".apng", None, ".apng"),
        (".apng", "png", ".apng"),
        (".pcx", None, ".png"),
        ("", None, ".png"),
        (".HEIC", None, ".jpg"),
        (".heif", "png", ".png"),
        (".pcx", "webp", ".webp"),
    ],
)
def test_suffix_of_the_cartoon(suffix, format, expected):
    assert toon_suffix(suffix, format) == expected


def test_formats_that_are_only_read():
    assert {".heic", ".heif", ".jpg", ".pgm", ".avif"} <= READ_SUFFIXES
    assert writable_format("TIFF") == "TIFF"
    assert writable_format("HEIF") == "JPEG"
    assert writable_format("HEIF", transparent=True) == "PNG"
    assert writable_format("PCX") == "PNG"


def test_lossless():
    for format in ("PNG", "TIFF", "WEBP", "BMP", "PPM"):
        check_options(format, 1, lossless=True)
    with pytest.raises(OutputError, match="AVIF is never lossless"):
        check_options("AVIF", None, lossless=True)
