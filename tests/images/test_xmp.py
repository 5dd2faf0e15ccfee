import time

import pytest
from PIL import Image, PngImagePlugin

from picture_files import file_of
from toonbox.images.metadata import kept_xmp, without_places
from toonbox.images.picture import decode

PACKET = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/"
  {attributes}>{elements}<dc:title>Höhe</dc:title></rdf:Description></x:xmpmeta>"""


def packet(attributes="", elements=""):
    return PACKET.format(attributes=attributes, elements=elements).encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (packet('tiff:Orientation="6"'), packet('tiff:Orientation="1"')),
        (packet("tiff:Orientation = '8'"), packet("tiff:Orientation = '1'")),
        (
            packet(elements="<tiff:Orientation>3</tiff:Orientation>"),
            packet(elements="<tiff:Orientation>1</tiff:Orientation>"),
        ),
        (packet(elements="<exif:PixelXDimension>9</exif:PixelXDimension>"), packet()),
        (packet('a:b="c" tiff:ImageWidth="30"'), packet('a:b="c"')),
    ],
)
def test_orientation_and_size_are_the_cartoons(before, after):
    assert kept_xmp(before) == after
    assert kept_xmp(after) == after


def test_packets_that_imagemagick_writes_into_png():
    digits = packet().hex()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type xmp", f"\nxmp\n{len(digits) // 2:8}\n{digits}\n")
    metadata = decode(file_of(Image.new("RGB", (4, 3)), pnginfo=info)).metadata
    assert (metadata.xmp, metadata.texts) == (packet(), ())


def test_what_is_no_packet():
    assert kept_xmp(b"") is None
    assert kept_xmp(b"\0\0") is None
    assert kept_xmp("<x>é</x>".encode("latin-1")) is None


@pytest.mark.parametrize(
    "places",
    [
        {"attributes": "exif:GPSLatitude=\"48,30N\" exif:GPSLongitude='9,1E'"},
        {"elements": "<exif:GPSLatitude>48,30N</exif:GPSLatitude><exif:GPSAltitude/>"},
        {"elements": '<exif:GPSMapDatum xml:lang="x">WGS</exif:GPSMapDatum>'},
        {"attributes": 'drone-dji:GpsLatitude="22.5" drone-dji:gpsLongitude="113.9"'},
    ],
)
def test_places_are_taken_out(places):
    left = without_places(packet(**places))
    assert b"gps" not in left.lower()
    assert "Höhe".encode() in left


@pytest.mark.parametrize(
    "places",
    [
        {"elements": "<exif:GPSx><a/></exif:GPSx>"},
        {"elements": "<a:GpsTrack><a/></a:GpsTrack>"},
        {"attributes": 'xmlns:gps="http://x/" gps:lat="48"'},
    ],
)
def test_a_place_that_cannot_be_taken_out_costs_the_packet(places):
    assert without_places(packet(**places)) is None


@pytest.mark.parametrize(
    "bait",
    [
        *(b"<exif:GPSa>", b" exif:GPSa='", b"<a:GPSa ", b" ", b"a", b"a:"),
        *(b"<tiff:Orientation", b"tiff:Orientation ", b"<tiff:ImageWidth ", b" tiff:ImageWidth='"),
    ],
)
def test_hostile_packets_take_no_time(bait):
    start = time.process_time()
    without_places(b"<x " + bait * (1_000_000 // len(bait)))
    kept_xmp(bait * (1_000_000 // len(bait)))
    assert time.process_time() - start < 10
