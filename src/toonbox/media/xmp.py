"""XMP packets: XML texts about a photo, changed as little as possible."""

import re

_ORIENTATION = re.compile(
    rb"""(tiff:Orientation\s*=\s*["']|<tiff:Orientation[^>/]*>\s*)[2-8](?=\s*["'<])"""
)
_STALE_SIZE = r"(?:exif:Pixel[XY]Dimension|tiff:Image(?:Width|Length))"
_PLACE = r"[\w.-]+:GPS\w*"


def kept_xmp(packet: bytes) -> bytes | None:
    """Reset the orientation, and leave out the old picture's size.

    Returns:
        The packet, None if it is empty. One that is not UTF-8, the only encoding that files may
        have, is left out.
    """
    packet = packet.strip(b"\0")
    try:
        packet.decode()
    except UnicodeDecodeError:
        return None
    return _without(_STALE_SIZE, _ORIENTATION.sub(rb"\g<1>1", packet)) or None


def without_places(packet: bytes) -> bytes | None:
    """Leave out all GPS properties; None if some cannot be taken out."""
    packet = _without(_PLACE, packet)
    return None if re.search(rb":GPS", packet) else packet


def _without(names: str, packet: bytes) -> bytes:
    """Take properties out, be they attributes or elements."""
    for pattern in (  # of simple values only, and without any that hostile packets make slow
        rf"""\s{names}\s*=\s*("[^"<]*"|'[^'<]*')""",
        rf"<({names})(?:\s[^<>]*)?/>",
        rf"<({names})(?:\s[^<>]*)?>[^<]*</\1\s*>",
    ):
        packet = re.sub(pattern.encode(), b"", packet)
    return packet
