"""Metadata: keep what describes the photo, drop what describes the old file."""

import contextlib
import logging
import re
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, BinaryIO

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin, TiffTags

from toonbox.options import MetadataPolicy as Keep

_ORIENTATION = re.compile(
    rb"""(tiff:Orientation\s*=\s*["']|<tiff:Orientation[^<>/]*>\s*)[2-8](?=\s*["'<])"""
)
_STALE_SIZE = r"(?:exif:Pixel[XY]Dimension|tiff:Image(?:Width|Length))"
_PLACE = r"(?!xmlns:)[\w.-]+:(?i:GPS)\w*"


def kept_xmp(packet: bytes) -> bytes | None:
    """Reset the orientation, and leave out the old size; None if empty or not UTF-8."""
    packet = packet.strip(b"\0")
    try:
        packet.decode()
    except UnicodeDecodeError:
        return None
    return _without(_STALE_SIZE, _ORIENTATION.sub(rb"\g<1>1", packet)) or None


def without_places(packet: bytes) -> bytes | None:
    """Leave out all GPS properties; None if some cannot be taken out."""
    packet = _without(_PLACE, packet)
    return None if re.search(rb":GPS", packet, re.IGNORECASE) else packet


def _without(names: str, packet: bytes) -> bytes:
    """Take properties out, be they attributes or elements."""
    for pattern in (  # of simple values only, and without any that hostile packets make slow
        rf"""\s{names}\s*=\s*("[^"<]*"|'[^'<]*')""",
        rf"<({names})(?:\s[^<>]*)?/>",
        rf"<({names})(?:\s[^<>]*)?>[^<]*</\1\s*>",
    ):
        packet = re.sub(pattern.encode(), b"", packet)
    return packet


_XMP_TAG, IPTC_TIFF_TAG = 700, 33723
_RAW_PROFILE = "Raw profile type "
IPTC_PNG_TEXT = f"{_RAW_PROFILE}iptc"
IPTC_RESOURCE = 0x0404  # of Photoshop's, in JPEG
_RESOURCE_HEAD = b"8BIM" + struct.pack(">HH", IPTC_RESOURCE, 0)
_JPEG_HEAD = b"Photoshop 3.0\0"
_JPEG_LIMIT = 65533 - 29  # bytes in one segment, without its longest header


def iptc_of(image: Image.Image) -> bytes | None:
    """Return the IPTC records of a JPEG, TIFF or PNG; None if there are none."""
    resources = image.info.get("photoshop")
    if isinstance(resources, dict) and isinstance(resources.get(IPTC_RESOURCE), bytes):
        return resources[IPTC_RESOURCE] or None
    # The raw bytes: many programs declare them as numbers, which Pillow would decode.
    raw: Any = getattr(getattr(image, "tag_v2", None), "_tagdata", {})
    if raw.get(IPTC_TIFF_TAG):
        return bytes(raw[IPTC_TIFF_TAG])
    data = _raw_profile(image, "iptc")
    _, found, resource = data.partition(_RESOURCE_HEAD)
    if found:
        return resource[4 : 4 + int.from_bytes(resource[:4])] or None
    return None if data.startswith(b"8BIM") else data or None


def iptc_jpeg_segment(records: bytes) -> bytes:
    """Return a JPEG segment of IPTC records; its length is modulo 65536."""
    body = _JPEG_HEAD + _resource(records)
    return b"\xff\xed" + struct.pack(">H", (len(body) + 2) % 65536) + body


def iptc_png_text(records: bytes) -> str:
    """Return IPTC records as the PNG text that ImageMagick and exiftool write."""
    digits = _resource(records).hex()
    lines = "\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    return f"\niptc\n{len(digits) // 2:8}\n{lines}\n"


def _resource(records: bytes) -> bytes:
    """Return IPTC records as a Photoshop resource, padded to an even length."""
    return _RESOURCE_HEAD + struct.pack(">I", len(records)) + records + bytes(len(records) % 2)


def _raw_profile(image: Image.Image, kind: str) -> bytes:
    """Return what ImageMagick and exiftool write as a PNG text: a name, a length, hex digits."""
    text = image.info.get(f"{_RAW_PROFILE}{kind}")
    # Split no further: hostile texts have millions of lines.
    digits = text.strip().split("\n", 2)[2:] if isinstance(text, str) else []
    try:
        return bytes.fromhex("".join(digits))
    except ValueError:
        return b""


def join_raw_exif(image: Image.Image) -> None:
    """Join the lines of such a text with EXIF data, of which Pillow would make a list."""
    name = f"{_RAW_PROFILE}exif"
    text = image.info.get(name)
    if isinstance(text, str):
        *head, digits = text.split("\n", 3)
        image.info[name] = "\n".join([*head, digits.replace("\n", "")])


# What to keep is listed, not what to drop: the rest may describe the old file's layout.
_KEPT_NAMES = """
    ProcessingSoftware DocumentName ImageDescription Make Model PageName Software DateTime Artist
    HostComputer WhitePoint PrimaryChromaticities Rating RatingPercent Copyright XPTitle XPComment
    XPAuthor XPKeywords XPSubject UniqueCameraModel LocalizedCameraModel CameraSerialNumber LensInfo
"""
# These belong into the Exif folder, but some writers, and TIFF/EP, put them beside the others.
_MISPLACED_NAMES = """
    ExposureTime FNumber ExposureProgram ISOSpeedRatings TimeZoneOffset SensitivityType
    StandardOutputSensitivity RecommendedExposureIndex ISOSpeed ISOSpeedLatitudeyyy
    ISOSpeedLatitudezzz DateTimeOriginal DateTimeDigitized OffsetTime OffsetTimeOriginal
    OffsetTimeDigitized ShutterSpeedValue ApertureValue BrightnessValue ExposureBiasValue
    MaxApertureValue SubjectDistance MeteringMode LightSource Flash FocalLength ImageNumber
    SecurityClassification ImageHistory ImageUniqueID CameraOwnerName BodySerialNumber
    LensSpecification LensMake LensModel LensSerialNumber
"""
_KEPT_TAGS = [ExifTags.Base[name] for name in (_KEPT_NAMES + _MISPLACED_NAMES).split()]
# Tags that say how the old file is laid out, or what is read and kept by other ways: nothing is
# lost with them. Up to 532 those of TIFF 6.0, then XMP, IPTC, Photoshop, profile, padding.
_LAYOUT_TAGS = frozenset(
    {*range(254, 533), 700, 33723, 34377, 34665, 34675, 34853, 37724, 40965, 59932}
)
# The orientation is applied to the pixels, which may swap the first two; of the last, a folder
# inside a folder, Pillow gives only the place in the old file.
_STALE_TAGS = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight, ExifTags.IFD.Interop)
# Of a JPEG: JFIF, EXIF and XMP, profile and previews, comment, Photoshop, Adobe's marker.
_KEPT_SEGMENTS = ("APP0", "APP1", "APP2", "COM", "APP13", "APP14")
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/"
# Chunks of text in PNG that say what is kept elsewhere.
_NO_TEXT = ("XML:com.adobe.xmp", _RAW_PROFILE, "Comment")

# What Pillow has been seen to raise for files that were cut off or altered.
DAMAGE = (
    *(ArithmeticError, AssertionError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, zlib.error, Image.DecompressionBombError),
)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metadata:
    """What is said about a photo."""

    exif: bytes | None = None  # the tags worth keeping, without orientation, as Pillow writes them
    xmp: bytes | None = None  # the packet, an XML text, orientation reset
    iptc: bytes | None = None  # the IIM records, as they stand in JPEG and TIFF
    dpi: tuple[float, float] | None = None  # horizontal and vertical, pixels per inch
    comment: str | None = None  # of JPEG, PNG or GIF
    texts: tuple[tuple[str, str], ...] = ()  # other named texts of PNG

    def kept(self, keep: Keep) -> "Metadata":
        """Choose what to write: all, nothing, or all but where the photo was taken.

        "no-gps" leaves out the GPS folder of EXIF, GPS properties of XMP, texts whose names have
        "gps" in them, and the maker's note, because nobody can tell what is in there. Captions and
        IPTC records stay.
        """
        match keep:
            case "keep":
                return self
            case "strip":
                return Metadata()
            case "no-gps":
                xmp = None if self.xmp is None else without_places(self.xmp)
                exif = self.exif
                if exif is not None:
                    found = Image.Exif()
                    found.load(exif)
                    folders, left_out = (ExifTags.IFD.Exif,), (ExifTags.Base.MakerNote,)
                    exif = _chosen_exif(found, folders, left_out)
                texts = tuple(text for text in self.texts if "gps" not in text[0].lower())
                return replace(self, exif=exif, xmp=xmp, texts=texts)


# Far beyond what any program writes; what Pillow does with more takes minutes.
_MOST_EXIF = 64  # segments of a JPEG, each added to a copy of those before
_MOST_INFLATED = 1 << 27  # bytes, of all texts and profiles of a PNG, even of those it then ignores
_STEP = 1 << 23
_DENSEST = 1032  # bytes that one of a Deflate stream stands for at most


def check_metadata(stream: BinaryIO) -> None:
    """Raise ValueError for a JPEG or PNG with so much metadata that Pillow would take minutes."""
    stream.seek(0)
    head = stream.read(8)
    if head.startswith(b"\xff\xd8\xff"):
        exif = (data for marker, data in jpeg_segments(stream) if marker == 0xE1)
        found = (1 for data in exif if data.startswith(b"Exif\0\0"))
        if sum(islice(found, _MOST_EXIF + 1)) > _MOST_EXIF:
            raise ValueError(f"has more than {_MOST_EXIF} segments of EXIF data")
    elif head == b"\x89PNG\r\n\x1a\n":
        left = _MOST_INFLATED
        for data in _compressed(stream):
            left -= _inflated(data, left)
            if left < 0:
                raise ValueError("has too many compressed texts and profiles")


def jpeg_segments(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield marker and data of the segments of a JPEG up to its scan, as Pillow finds them."""
    stream.seek(2)
    while byte := stream.read(1):
        if byte != b"\xff":  # which Pillow skips
            continue
        while (marker := stream.read(1)) == b"\xff":
            pass
        kind = int.from_bytes(marker)
        if JpegImagePlugin.MARKER.get(0xFF00 | kind, ("", "", None))[2] is None:
            continue  # it has no content
        length = int.from_bytes(stream.read(2))
        yield kind, stream.read(max(0, length - 2))
        if kind == 0xDA:
            return


def _compressed(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is compressed of the texts and profiles of a PNG."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        length, kind = int.from_bytes(head[:4]), head[4:]
        following = stream.tell() + length + 4
        if kind in (b"iCCP", b"zTXt"):
            yield stream.read(length).partition(b"\0")[2][1:]  # behind name and method
        elif kind == b"iTXt":
            rest = stream.read(length).partition(b"\0")[2]
            if rest[:1] != b"\0":  # behind method, language and translated name
                yield rest[2:].split(b"\0", 2)[-1]
        stream.seek(following)


def _inflated(data: bytes, limit: int) -> int:
    """Return how many bytes data inflate to, one more than the limit at most; keep none."""
    inflater, size = zlib.decompressobj(), 0
    while data and size <= limit:
        try:
            size += len(inflater.decompress(data, _STEP))
        except zlib.error:
            return size + min(_STEP, _DENSEST * len(data))
        data = inflater.unconsumed_tail
    return size


def read_metadata(image: Image.Image, name: str) -> Metadata:
    """Collect what is also true of a cartoon of the loaded picture, which messages call `name`."""
    if lost := _lost_segments(image):
        _logger.warning("%s: left out of its metadata: %s", name, ", ".join(lost))
    xmp = image.info.get("xmp") or _raw_profile(image, "xmp")
    texts: dict[str, Any] = getattr(image, "text", None) or {}
    return Metadata(
        exif=kept_exif(image, name),
        xmp=kept_xmp(xmp) if isinstance(xmp, bytes) else None,
        iptc=iptc_of(image),
        dpi=_dpi(image),
        comment=_comment(image),
        texts=tuple((k, str(v)) for k, v in texts.items() if not k.startswith(_NO_TEXT)),
    )


def _comment(image: Image.Image) -> str | None:
    comment = image.info.get("comment") or image.info.get("Comment")
    if isinstance(comment, bytes):
        comment = comment.rstrip(b"\0")
        try:
            return str(comment, "utf-8")
        except UnicodeDecodeError:
            return str(comment, "latin-1")
    return comment if isinstance(comment, str) else None


def _lost_segments(image: Image.Image) -> list[str]:
    """Name the segments of a JPEG that are not kept, but for those that describe its coding."""
    lost = set()
    for segment, data in getattr(image, "applist", []):
        if data.startswith(_EXTENDED_XMP):
            lost.add("extended XMP")
        elif data.startswith(b"JP") and segment == "APP11":
            lost.add("content credentials (JUMBF)")
        elif segment not in _KEPT_SEGMENTS and data.strip(b"\0"):
            lost.add(segment)
    return sorted(lost)


def kept_exif(image: Image.Image, name: str) -> bytes | None:
    """Return the EXIF data that are also true of a cartoon; None if there are none, or damaged."""
    try:
        found = image.getexif()
        data = _chosen_exif(found, (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo), _STALE_TAGS)
    except DAMAGE:
        _logger.warning("%s: its EXIF data are damaged and are left out", name)
        return None
    if lost := sorted(tag for tag in found if tag not in _LAYOUT_TAGS.union(_KEPT_TAGS)):
        names = (ExifTags.TAGS.get(tag) or TiffTags.TAGS.get(tag, str(tag)) for tag in lost)
        _logger.warning("%s: left out of its EXIF data: %s", name, ", ".join(names))
    return data


def exif_bytes(exif: Image.Exif) -> bytes | None:
    """Write tags as Pillow does; None if there are none."""
    data = exif.tobytes()
    return data if data != Image.Exif().tobytes() else None


def _chosen_exif(
    found: Image.Exif, folders: Collection[int], left_out: Collection[int]
) -> bytes | None:
    """Write the tags to keep and these folders, but for the tags to be left out of them."""
    kept = Image.Exif()
    for tag in _KEPT_TAGS:
        if tag in found:
            kept[tag] = found[tag]
    for folder in folders:
        values = {k: v for k, v in found.get_ifd(folder).items() if k not in left_out}
        if values:
            kept.get_ifd(folder).update(values)
    return exif_bytes(kept)


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """Read the resolution, from EXIF where a format has no field of its own for it."""
    with contextlib.suppress(*DAMAGE):
        found, unit = image.info.get("dpi"), 1.0
        if not found:
            exif = image.getexif()
            found = [exif[tag] for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)]
            unit = {2: 1.0, 3: 2.54}.get(exif.get(ExifTags.Base.ResolutionUnit, 2), 0.0)
        across, down = (float(value) * unit for value in found)
        if 0 < across < 65536 and 0 < down < 65536:  # no more than formats can hold
            return across, down
    return None


def metadata_options(metadata: Metadata, format: str, name: str) -> dict[str, Any]:
    """Return Pillow's options for metadata; warn once of what the format cannot hold."""
    exif = _exif_for(metadata, format)
    options: dict[str, Any] = {"exif": exif_bytes(exif)}
    lost = {key for key in ("iptc", "comment", "texts") if getattr(metadata, key)}
    match format:
        case "JPEG":
            segment = iptc_jpeg_segment(metadata.iptc) if metadata.iptc else None
            comment = metadata.comment.encode() if metadata.comment else None
            options |= {"xmp": metadata.xmp, "iptc": segment, "comment": comment}
            long = {key for key, data in options.items() if data and len(data) > _JPEG_LIMIT}
            options = {key: data for key, data in options.items() if key not in long}
            options |= {"dpi": metadata.dpi, "extra": options.pop("iptc", None)}
            lost = long | lost & {"texts"}
        case "PNG":
            options |= {"dpi": metadata.dpi, "pnginfo": _png_texts(metadata)}
            lost.clear()
        case "TIFF":
            options = {"exif": exif, "dpi": metadata.dpi}
            lost.discard("iptc")
        case "WEBP" | "AVIF":
            options["xmp"] = metadata.xmp
        case "GIF":
            options = {"comment": metadata.comment}
            lost.discard("comment")
        case "BMP":
            options = {"dpi": metadata.dpi}
        case _:
            options = {}
    if format in ("GIF", "BMP", "PPM"):
        lost |= {key for key in ("exif", "xmp") if getattr(metadata, key)}
    if lost:
        names = ", ".join(sorted(lost))
        _logger.warning("%s: %s has no place for its metadata: %s", name, format, names)
    return {key: value for key, value in options.items() if value is not None}


def _exif_for(metadata: Metadata, format: str) -> Image.Exif:
    """Return the EXIF tags to write, with what some formats store as tags."""
    exif = Image.Exif()
    if metadata.exif:
        exif.load(metadata.exif)
    if format == "TIFF":
        exif.get_ifd(ExifTags.IFD.Exif)  # loads it
        own = {_XMP_TAG: metadata.xmp, IPTC_TIFF_TAG: metadata.iptc}
        exif.update({tag: data for tag, data in own.items() if data})
    if format in ("WEBP", "AVIF") and metadata.dpi:
        exif[ExifTags.Base.ResolutionUnit] = 2
        exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = metadata.dpi
    return exif


def _png_texts(metadata: Metadata) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    if metadata.xmp:
        info.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode())
    if metadata.iptc:
        info.add_text(IPTC_PNG_TEXT, iptc_png_text(metadata.iptc), zip=True)
    if metadata.comment:
        info.add_text("Comment", metadata.comment)
    for key, text in metadata.texts:
        info.add_text(key, text)
    return info
