import io
import tracemalloc

import pytest
from PIL import Image, PngImagePlugin

from toonbox.images.encode import encode
from toonbox.images.metadata import IPTC_PNG_TEXT, iptc_jpeg_segment, iptc_png_text
from toonbox.images.picture import decode

RECORDS = b"\x1c\x02\x19\x00\x03sun"


def file_of(format, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, format, **options)
    return buffer.getvalue()


def png_with(text):
    info = PngImagePlugin.PngInfo()
    info.add_text(IPTC_PNG_TEXT, text, zip=True)
    return file_of("PNG", pnginfo=info)


@pytest.mark.parametrize("records", [RECORDS, RECORDS + b"\0", b"x" * 300])
@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG"])
def test_records_travel_between_formats(records, format):
    start = decode(file_of("JPEG", extra=iptc_jpeg_segment(records)))
    assert start.metadata.iptc == records
    again = decode(encode(start, start.rgb, format)).metadata.iptc
    assert again[: len(records)] == records
    assert len(again) <= len(records) + 3


def test_none():
    for format in ("JPEG", "TIFF", "PNG", "GIF"):
        assert decode(file_of(format)).metadata.iptc is None


@pytest.mark.parametrize(
    "text", ["", "iptc", "\niptc\n 3\nnot hex", "\niptc\n4\n3842494d", "a\nb\n"]
)
def test_damaged_text_is_no_record(text):
    assert decode(png_with(text)).metadata.iptc is None


@pytest.mark.parametrize("kind", ["exif", "iptc", "xmp"])
def test_a_text_of_very_many_lines_takes_little_memory(kind):
    info = PngImagePlugin.PngInfo()
    info.add_text(f"Raw profile type {kind}", f"\n{kind}\n1000000\n" + "20\n" * 1_000_000, zip=True)
    data = file_of("PNG", pnginfo=info)
    tracemalloc.start()
    try:
        decode(data)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_records_after_other_resources():
    other = b"8BIM\x03\xed\x03abc\x00\x00\x00\x03xyz\x00"
    own = b"8BIM\x04\x04\x00\x00" + len(RECORDS).to_bytes(4) + RECORDS
    text = f"\nIPTC profile\n{len(other + own):8}\n{(other + own).hex()}\n"
    assert decode(png_with(text)).metadata.iptc == RECORDS


def test_too_long_for_jpeg_is_named_and_left_out(caplog):
    picture = decode(png_with(iptc_png_text(b"x" * 70_000)))
    assert len(picture.metadata.iptc) == 70_000
    assert decode(encode(picture, picture.rgb, "JPEG")).metadata.iptc is None
    assert "JPEG has no place for its metadata: iptc" in caplog.text
