import io
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image

from picture_files import file_of
from toonbox.images.encode import encode
from toonbox.images.metadata import Metadata, kept_exif, read_metadata
from toonbox.images.picture import decode

RGB = np.zeros((4, 6, 3), np.uint8)


def photo(format="JPEG"):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Artist] = "Somebody"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format, exif=exif.tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("source", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("target", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_what_is_said_about_the_photo_is_kept(source, target):
    picture = decode(photo(source))
    written = Image.open(io.BytesIO(encode(picture, picture.rgb, target)))
    exif = written.getexif()
    folder = exif.get_ifd(ExifTags.IFD.Exif)
    assert written.size == (4, 6)
    assert exif[ExifTags.Base.Make] == "Maker"
    assert exif[ExifTags.Base.Artist] == "Somebody"
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    assert folder[ExifTags.Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert ExifTags.Base.ExifImageWidth not in folder
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


def test_a_tiffs_layout_is_not_kept():
    exif = Image.Exif()
    exif.load(decode(photo("TIFF")).metadata.exif)
    assert ExifTags.Base.StripOffsets not in exif
    assert ExifTags.Base.ImageWidth not in exif


def test_nothing_to_keep():
    assert kept_exif(Image.fromarray(RGB), "x") is None
    orientation_only = Image.fromarray(RGB)
    orientation_only.getexif()[ExifTags.Base.Orientation] = 3
    assert kept_exif(orientation_only, "x") is None


def test_damaged_tags_cost_the_tags_not_the_picture(caplog):
    image = Image.fromarray(RGB)
    image.getexif()[ExifTags.Base.Rating] = object()
    assert kept_exif(image, "photo.jpg") is None
    assert "photo.jpg: its EXIF data are damaged" in caplog.text


@pytest.mark.parametrize(
    "dpi", [("a", "b"), (0, 0), (float("nan"), 72), (1e9, 1e9), 300, (1, 2, 3), (-72, 72), ()]
)
def test_resolutions_that_cannot_be_are_left_out(dpi):
    image = Image.fromarray(RGB)
    image.info["dpi"] = dpi
    assert read_metadata(image, "x").dpi is None


@pytest.mark.parametrize(("unit", "dpi"), [(2, (300, 200)), (3, (762, 508)), (1, None)])
def test_resolution_from_exif(unit, dpi):
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = 300, 200
    exif[ExifTags.Base.ResolutionUnit] = unit
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "WEBP", exif=exif)
    assert read_metadata(Image.open(buffer), "x").dpi == (dpi and pytest.approx(dpi))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_no_gps_and_strip(format):
    picture = decode(photo(format))
    exif = Image.Exif()
    exif.load(picture.metadata.kept("no-gps").exif)
    assert exif[ExifTags.Base.Make] == "Maker"
    assert not exif.get_ifd(ExifTags.IFD.GPSInfo)
    assert exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert picture.metadata.kept("keep") is picture.metadata
    assert picture.metadata.kept("strip") == Metadata()


def test_texts_about_places_go_with_them():
    texts = (("exif:GPSLatitude", "22/1, 32/1"), ("gpsAltitude", "3"), ("Author", "Me"))
    assert Metadata(texts=texts).kept("no-gps").texts == texts[-1:]


def test_the_makers_note_goes_with_the_places():
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b"secret"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", exif=exif.tobytes())
    metadata = decode(buffer.getvalue()).metadata
    assert b"secret" in metadata.exif
    assert metadata.kept("no-gps").exif is None


@pytest.mark.parametrize("format", ["GIF", "BMP", "PPM"])
def test_what_a_format_has_no_place_for_is_named(format, caplog):
    picture = decode(photo("JPEG"), name="a.jpg")
    encode(picture, picture.rgb, format)
    assert f"a.jpg: {format} has no place for its metadata: exif" in caplog.text


def tags_of(data):
    exif = Image.Exif()
    exif.load(data)
    return exif


def with_tags(format, tags):
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_tags_that_describe_the_photo_are_kept_and_others_named(format, caplog):
    kept = {
        ExifTags.Base.ProcessingSoftware: "dcraw",
        ExifTags.Base.XPTitle: "Häuser".encode("utf-16le") + b"\0\0",
        ExifTags.Base.WhitePoint: (0.3127, 0.329),
        ExifTags.Base.ISOSpeedRatings: 400,
        ExifTags.Base.LensModel: "50mm",
        ExifTags.Base.CameraSerialNumber: "123",
    }
    lost = {ExifTags.Base.PrintImageMatching: b"PrintIM\0", 46275: b"abc"}
    picture = decode(with_tags(format, kept | lost), name="a")
    written = Image.open(io.BytesIO(encode(picture, picture.rgb, format))).getexif()
    for tag, value in kept.items():
        assert written[tag] == pytest.approx(value) if isinstance(value, tuple) else value
    assert not set(lost) & set(written)
    assert "a: left out of its EXIF data: 46275, PrintImageMatching" in caplog.text


def test_layout_is_lost_without_a_word(caplog):
    decode(with_tags("TIFF", {ExifTags.Base.Make: "Maker"}))
    decode(with_tags("JPEG", {ExifTags.Base.YCbCrPositioning: 1, ExifTags.Base.Orientation: 6}))
    assert not caplog.text


def test_segments_of_a_jpeg_that_are_lost_are_named(caplog):
    segments = [
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40)),
        (0xEB, b"JP\0\1jumb"),
        (0xEC, b"Ducky\0\1"),
        (0xE2, b"MPF\0"),
        (0xED, b"Photoshop 3.0\0"),
    ]
    extra = b"".join(
        bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2) + data for marker, data in segments
    )
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", extra=extra)
    decode(buffer.getvalue(), name="a.jpg")
    lost = "APP12, content credentials (JUMBF), extended XMP"
    assert caplog.messages == [f"a.jpg: left out of its metadata: {lost}"]


def exif_of(*entries):
    """Write EXIF data by hand, of (tag, type, count, value or place)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + bytes(4)


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 7, 12, 13, 16, 99])
@pytest.mark.parametrize("tag", [271, 40091, 34665, 34853, 33550])
def test_counts_that_no_file_can_have(kind, tag):
    data = file_of(Image.fromarray(RGB), "JPEG", exif=exif_of((tag, kind, 0xFFFFFFFF, 8)))
    picture = decode(data)
    assert decode(encode(picture, picture.rgb, "JPEG")).rgb.shape == RGB.shape


def test_folders_that_contain_themselves():
    exif = exif_of((271, 2, 4, 0x414141), (34665, 4, 1, 8), (34853, 4, 1, 8), (40965, 4, 1, 8))
    picture = decode(file_of(Image.fromarray(RGB), "JPEG", exif=exif))
    assert tags_of(picture.metadata.exif)[ExifTags.Base.Make] == "AAA"
    encode(picture, picture.rgb, "TIFF")
