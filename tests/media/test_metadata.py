import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from toonbox.media.encoding import encode
from toonbox.media.images import decode
from toonbox.media.metadata import Metadata, kept_exif, read_metadata

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
