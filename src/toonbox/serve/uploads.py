"""Receive bodies in pieces, within limits: one picture's bytes, or the files of a form."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import HTTPException
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from toonbox.serve.settings import LEAST_RATE

FORM = "multipart/form-data"
FIELD = "file"
_LONGEST_NAME = 60  # characters, of up to four bytes; file systems take 255 bytes

Piece = tuple[int, str, bytes]  # number of the file, from 1; its name; some of its bytes


async def pieces(
    request: Request, *, files: int, size: int, patience: float
) -> AsyncIterator[Piece]:
    """Read the files of a form, or a bare body as one without a name, piece by piece.

    Args:
        request: whose body is read.
        files: as many there may be.
        size: bytes that the body may have.
        patience: seconds for each piece, and for a body without bytes; each 16 KiB give it one
            more.
    Raises:
        HTTPException: not a form after all, other fields than `file`, or too many files; a body
            that is too large, or comes too slowly.
    """
    body = _body(request, size, patience)
    if not is_form(request):
        async for data in body:
            yield 1, "", data
        return
    _, options = parse_options_header(request.headers["content-type"])
    if not (boundary := options.get(b"boundary")):
        raise HTTPException(400, "the form has no boundary")
    form = _Form(files)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": form.add_to_header,
                "on_header_value": form.add_to_value,
                "on_header_end": form.end_header,
                "on_headers_finished": form.open,
                "on_part_data": form.add,
                "on_end": form.end,
            },
        )
        async for data in body:
            parser.write(data)
            for piece in form.found:
                yield piece
            form.found.clear()
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"the form is damaged: {error}") from error
    if not form.complete:
        raise HTTPException(400, "the form ends before it is complete")


async def _body(request: Request, size: int, patience: float) -> AsyncIterator[bytes]:
    """Read a body; arguments and errors as in `pieces`.

    Lengths that clients state are believed only if they are too large.
    """
    too_large = HTTPException(413, f"a body may have at most {size:,} bytes")
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > size:
        raise too_large
    stream, received = request.stream(), 0
    now = asyncio.get_running_loop().time
    began = now()
    while True:
        try:
            # The average, and never long for a single piece.
            until = min(began + received / LEAST_RATE, now()) + patience
            async with asyncio.timeout_at(until):
                data = await anext(stream, None)
        except TimeoutError:
            raise HTTPException(408, "the body comes too slowly") from None
        if data is None:
            return
        received += len(data)
        if received > size:
            raise too_large
        yield data


def is_form(request: Request) -> bool:
    """Return whether the body is a form with files."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == FORM


@dataclass
class _Form:
    """Collects the pieces that a parser finds, by the parser's callbacks."""

    files: int
    complete: bool = False
    found: list[Piece] = field(default_factory=list)
    _number: int = 0
    _name: str = ""
    _header: bytes = b""
    _value: bytes = b""
    _disposition: bytes = b""

    def add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def open(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        if options.get(b"name") != FIELD.encode():
            raise HTTPException(
                400, f"files in a form must be named {FIELD!r}; options go into the query"
            )
        self._number += 1
        if self._number > self.files:
            raise HTTPException(413, f"more than {self.files} files")
        self._name = file_name(options.get(b"filename", b"").decode("utf-8", "replace"))
        self.found.append((self._number, self._name, b""))

    def add(self, data: bytes, start: int, end: int) -> None:
        self.found.append((self._number, self._name, data[start:end]))

    def end(self) -> None:
        self.complete = True


def file_name(given: str) -> str:
    """Return a client's file name without folders; it may be empty."""
    name = Path(given.replace("\\", "/")).name
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*/')
    path = Path(name.strip(" ."))
    suffix = path.suffix[:20]
    return path.stem[: _LONGEST_NAME - len(suffix)] + suffix
