"""What another program, exiftool, says about the files we write."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageCms

from toonbox.convert.cartoonize import cartoonize_file
from toonbox.engine.style import Style, find_style, read_card
from toonbox.options import DEFAULT_STYLE

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="exiftool is not installed (Debian: libimage-exiftool-perl)",
)

TAGS = {
    "EXIF:Make": "Maker",
    "EXIF:Artist": "Ann",
    "EXIF:DateTimeOriginal": "2020:01:02 03:04:05",
    "EXIF:GPSLatitude": 48.5,
    "EXIF:GPSLatitudeRef": "N",
    "EXIF:XResolution": 300,
    "EXIF:YResolution": 300,
    "EXIF:ResolutionUnit#": 2,
    "EXIF:Orientation#": 6,
    "XMP-dc:Title": "Hill",
    "XMP-exif:GPSLatitude": 48.5,
    "XMP-tiff:Orientation#": 6,
    "XMP-tiff:ImageWidth": 30,
}
IPTC = {"IPTC:Keywords": "sun"}
# What exiftool of today writes into each format.
MORE = {
    "jpg": IPTC | {"File:Comment": "hello"},
    "png": IPTC | {"PNG:Comment": "hello", "PNG:Author": "Ann"},
    "tif": IPTC,
    "webp": {},
}
TARGETS = ("jpg", "png", "tif", "webp", "avif")


def write_tags(path, tags):
    options = [f"-{name.replace('File:', '')}={value}" for name, value in tags.items()]
    subprocess.run(["exiftool", "-m", "-q", "-overwrite_original", *options, path], check=True)


def read_tags(*paths):
    """Read several at once: exiftool takes long to start."""
    command = ["exiftool", "-json", "-G1", "-n", *paths]
    tags = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for found in tags:
        assert not {"ExifTool:Error", "ExifTool:Warning"} & set(found), found
    return tags


def photo_with_tags(folder, kind):
    path = folder / f"photo.{kind}"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (30, 20), 90).save(path, icc_profile=srgb)
    write_tags(path, TAGS | MORE[kind])
    return path


class Copy(Style):
    """Leaves every photo as it is."""

    def __init__(self):
        self.card, self.session, self.tile = read_card(find_style(DEFAULT_STYLE)), None, 1

    def draw(self, photo, *_, **__):
        return photo.rgb.copy()


copy = Copy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", MORE)
def test_metadata_are_kept_stripped_or_without_places(kind, tmp_path):
    source, written = photo_with_tags(tmp_path, kind), {}
    for keep in ("keep", "strip", "no-gps"):
        for target in TARGETS:
            written[keep, target] = tmp_path / f"{keep}.{target}"
            cartoonize_file(source, written[keep, target], style=copy, metadata=keep)
    tags = dict(zip(written, read_tags(*written.values()), strict=True))
    for target in TARGETS:
        everything_is_kept(kind, target, tags["keep", target])
        only_colours_are_left(tags["strip", target])
        no_place_is_left(tags["no-gps", target])
        assert b"GPSLatitude" not in written["no-gps", target].read_bytes()
        # Upright now, and said so everywhere.
        assert Image.open(written["keep", target]).size == (20, 30)


def everything_is_kept(kind, target, tags):
    expected = {
        "IFD0:Make": "Maker",
        "IFD0:Artist": "Ann",
        "ExifIFD:DateTimeOriginal": "2020:01:02 03:04:05",
        "GPS:GPSLatitude": 48.5,
        "XMP-dc:Title": "Hill",
        "XMP-exif:GPSLatitude": 48.5,
    }
    if target in ("jpg", "png", "tif") and kind in ("jpg", "png", "tif"):
        expected |= IPTC
    if target in ("jpg", "png") and kind in ("jpg", "png"):
        expected |= {"File:Comment" if target == "jpg" else "PNG:Comment": "hello"}
    if target == kind == "png":
        expected |= {"PNG:Author": "Ann"}
    assert {name: tags.get(name) for name in expected} == expected, target
    if target == "png":
        assert tags["PNG-pHYs:PixelsPerUnitX"] == round(300 / 0.0254)
    else:
        assert tags["JFIF:XResolution" if target == "jpg" else "IFD0:XResolution"] == 300
    assert tags["ICC-header:ColorSpaceData"].strip() == "RGB"
    assert tags.get("IFD0:Orientation", 1) == tags.get("XMP-tiff:Orientation", 1) == 1
    assert "XMP-tiff:ImageWidth" not in tags


def only_colours_are_left(tags):
    ours = ("Make", "Artist", "DateTimeOriginal", "GPS", "Title", "Keywords", "Comment", "XMP")
    assert [name for name in tags if any(word in name for word in ours)] == []
    assert not {name for name in tags if name.startswith("ExifIFD:")}
    assert 300 not in tags.values()
    assert "ICC-header:ColorSpaceData" in tags


def no_place_is_left(tags):
    assert [name for name in tags if "GPS" in name] == []
    assert tags["IFD0:Make"] == "Maker"
    assert tags["ExifIFD:DateTimeOriginal"] == "2020:01:02 03:04:05"
    assert tags["XMP-dc:Title"] == "Hill"


@pytest.mark.parametrize(("kind", "channels"), [("png", 3), ("tif", 3), ("tif", 1)])
def test_sixteen_bits_carry_everything_too(kind, channels, tmp_path):
    cv2 = pytest.importorskip("cv2")
    source, toon = tmp_path / f"photo.{kind}", tmp_path / f"toon.{kind}"
    values = np.random.default_rng(2).integers(0, 65536, (20, 30, channels)).astype(np.uint16)
    assert cv2.imwrite(str(source), values)
    write_tags(source, TAGS | MORE[kind])
    cartoonize_file(source, toon, style=copy)
    (tags,) = read_tags(toon)
    bits = tags["PNG:BitDepth" if kind == "png" else "IFD0:BitsPerSample"]
    assert str(bits) == ("16" if kind == "png" else " ".join(["16"] * channels))
    assert tags["IFD0:Make"] == "Maker"
    assert tags["ExifIFD:DateTimeOriginal"] == "2020:01:02 03:04:05"
    assert tags["GPS:GPSLatitude"] == tags["XMP-exif:GPSLatitude"] == 48.5
    assert tags["IPTC:Keywords"] == "sun"
    assert tags.get("IFD0:Orientation", 1) == 1
    turned = cv2.imread(str(toon), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(turned.reshape(30, 20, channels), np.rot90(values, -1))
