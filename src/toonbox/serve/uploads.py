"""Receive bodies in pieces: one picture's bytes, or the files of a form."""

import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import HTTPException
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM = "multipart/form-data"
FIELD = "file"
_LONGEST_NAME = 60  # characters, of up to four bytes; file systems take 255 bytes

Piece = tuple[int, str, bytes]  # number of the file, from 1; its name; some of its bytes


async def pieces(request: Request, most: int) -> AsyncIterator[Piece]:
    """Read the files of a form, or a bare body as one without a name, piece by piece.

    Args:
        request: whose body is read.
        most: files there may be.
    Raises:
        HTTPException: not a form after all, other fields than `file`, or too many files; what
            reading raises.
    """
    if not is_form(request):
        async for data in request.stream():
            yield 1, "", data
        return
    _, options = parse_options_header(request.headers["content-type"])
    if not (boundary := options.get(b"boundary")):
        raise HTTPException(400, "the form has no boundary")
    form = _Form(most)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for data in request.stream():
            parser.write(data)
            for piece in form.take():
                yield piece
        parser.finalize()
    except FormParserError as error:
        raise HTTPException(400, f"the form is damaged: {error}") from error
    if not form.complete:
        raise HTTPException(400, "the form ends before it is complete")


def is_form(request: Request) -> bool:
    """Return whether the body is a form with files."""
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == FORM


@dataclass
class _Form:
    """Collects what the parser finds, until it is taken."""

    most: int
    complete: bool = False
    _number: int = 0
    _name: str = ""
    _header: bytes = b""
    _value: bytes = b""
    _disposition: bytes = b""
    _found: list[Piece] = field(default_factory=list)

    def callbacks(self) -> "MultipartCallbacks":
        """Return the callbacks of the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_to_header,
            "on_header_value": self._add_to_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._add,
            "on_end": self._end,
        }

    def take(self) -> list[Piece]:
        """Return the pieces found so far."""
        found, self._found = self._found, []
        return found

    def _begin(self) -> None:
        self._disposition = self._header = self._value = b""

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        if options.get(b"name") != FIELD.encode():
            raise HTTPException(400, f"a form has files named {FIELD!r}; options go into the query")
        self._number += 1
        if self._number > self.most:
            raise HTTPException(413, f"more than {self.most} files")
        self._name = file_name(options.get(b"filename", b"").decode("utf-8", "replace"))
        self._found.append((self._number, self._name, b""))

    def _add(self, data: bytes, start: int, end: int) -> None:
        self._found.append((self._number, self._name, data[start:end]))

    def _end(self) -> None:
        self.complete = True


def file_name(given: str) -> str:
    """Return a client's file name without folders; it may be empty."""
    name = Path(given.replace("\\", "/")).name
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C" and c not in '<>:"|?*/')
    path = Path(name.strip(" ."))
    suffix = path.suffix[:20]
    return path.stem[: _LONGEST_NAME - len(suffix)] + suffix
