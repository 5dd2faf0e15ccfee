"""The chunks that PNG files are made of."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read kind and content of each chunk, up to the end.

    Raises:
        EOFError: the file is cut off.
        ValueError: a checksum is wrong.
    """
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at) if at + 8 <= len(data) else (0, b"")
        end = at + 12 + length
        if not kind or end > len(data):
            raise EOFError("truncated PNG")
        content, (checksum,) = data[at + 8 : end - 4], struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(kind + content) != checksum:
            raise ValueError(f"wrong checksum in {kind!r}")
        yield kind, content
        at = end


def chunk(kind: bytes, content: bytes) -> bytes:
    """Write a chunk."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
