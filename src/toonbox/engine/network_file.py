"""Look through a network's file before an engine loads it: a style may come from anybody.

ONNX files are protocol buffers. Their fields are numbered in onnx.proto, and of each only the
number, the length and the place are needed to find what a style has no use for.
"""

from collections.abc import Iterator
from pathlib import Path

from toonbox.errors import StyleError
from toonbox.files import read_within

MAX_BYTES = 256 << 20
MAX_FIELDS = 1_000_000  # the shipped styles have about two thousand

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR = range(5)
_WITHIN = {
    (_MODEL, 7): _GRAPH,
    (_GRAPH, 1): _NODE,
    (_GRAPH, 5): _TENSOR,
    (_NODE, 5): _ATTRIBUTE,
    (_ATTRIBUTE, 5): _TENSOR,
    (_ATTRIBUTE, 10): _TENSOR,
}
_DIMS = (_TENSOR, 1)
_REFUSED = {
    (_TENSOR, 13): "data outside of its file",
    (_TENSOR, 14): "data outside of its file",
    (_ATTRIBUTE, 6): "graphs within its graph",
    (_ATTRIBUTE, 11): "graphs within its graph",
    (_ATTRIBUTE, 22): "sparse tensors",
    (_ATTRIBUTE, 23): "sparse tensors",
    (_GRAPH, 15): "sparse tensors",
    (_MODEL, 20): "steps of training",
    (_MODEL, 25): "functions",
}
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_VERSION = 0x08  # how every writer of ONNX begins; other formats that engines know do not


def network_bytes(file: Path) -> bytes:
    """Read a network's file as it is.

    Raises:
        StyleError: missing or too large.
    """
    try:
        return read_within(file, MAX_BYTES)
    except OSError as error:
        raise StyleError(f"{file}: {error.strerror}") from error


def read_network(file: Path) -> bytes:
    """Read an ONNX file, and refuse what could reach beyond it or outgrow it.

    Raises:
        StyleError: missing, too large or no ONNX; or its network has data in other files, graphs
            within its graph (loops), functions, sparse tensors, or a tensor that claims more values
            than it has bytes for; or its nodes go in a circle, over which OpenVINO never ends.
    """
    data = network_bytes(file)
    try:
        _look_through(data)
    except ValueError as error:
        raise StyleError(f"{file}: not a network for a style: {error}") from error
    return data


def _look_through(data: bytes) -> None:
    if data[:1] != bytes([_VERSION]):
        raise ValueError("not an ONNX file")
    left, waiting = MAX_FIELDS, [(_MODEL, memoryview(data))]
    graphs: list[memoryview] = []
    while waiting:
        kind, message = waiting.pop()
        values = 1
        if kind == _GRAPH:
            graphs.append(message)
        for number, value in _fields(message):
            place, left = (kind, number), left - 1
            if not left:
                raise ValueError("it has too many parts")
            if place in _REFUSED and value != 0:
                raise ValueError(f"it has {_REFUSED[place]}")
            if place in _WITHIN and not isinstance(value, int):
                waiting.append((_WITHIN[place], value))
            if place == _DIMS:
                for side in [value] if isinstance(value, int) else _varints(value):
                    values *= max(side, 1)
                    # The smallest take two bits each; a negative side is one of 2**63 or more.
                    if values > 4 * len(message):
                        raise ValueError("a tensor claims more values than it has")
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs")
    _refuse_circles(graphs[0])


def _refuse_circles(graph: memoryview) -> None:
    """Check that nodes only use what is there before them, as ONNX demands."""
    parts = [(number, part) for number, part in _fields(graph) if not isinstance(part, int)]
    known = {b""}  # the name of what an optional input or output has not
    for number, part in parts:
        if number in (5, 11):  # tensors, inputs
            known |= _texts(part, 8 if number == 5 else 1)
    for number, part in parts:
        if number == 1:
            made = _texts(part, 2) - {b""}
            if not _texts(part, 1) <= known or made & known:
                raise ValueError("its nodes are not in order")
            known |= made


def _texts(message: memoryview, wanted: int) -> set[bytes]:
    return {
        bytes(text)
        for number, text in _fields(message)
        if number == wanted and not isinstance(text, int)
    }


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Give the number and the value of each field; all but whole numbers as bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if number == 0 or key >= 1 << 32:
            raise ValueError("damaged")
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind)
        if kind == _BYTES:
            size, place = _varint(message, place)
        if size is None or place + size > len(message):
            raise ValueError("damaged")
        yield number, message[place : place + size]
        place += size


def _varints(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read a whole number of at most ten bytes, seven bits each: it, and the place behind it."""
    value = 0
    for index, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("damaged")
