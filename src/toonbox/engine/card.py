"""Style folders: a network, the card that describes it, and where they are looked for."""

import os
import reprlib
import sys
import tomllib
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from toonbox.atomic import read_within, replacing
from toonbox.errors import StyleError

DEFAULT_STYLE = "comic"
SHIPPED = Path(__file__).parent.parent / "styles"
MODEL = "style.onnx"
CARD = "card.toml"
MAX_CARD = 8192  # bytes; the time and memory of reading TOML may grow with the square of them
MAX_PADDING = 256  # pixels: of size_multiple and beyond, which can make any photo a large one
GENERATOR = "generator.safetensors"  # to go on training from; often there is none


@dataclass(frozen=True)
class Card:
    """What a style says of itself.

    Attributes:
        name: of the style.
        version: of the style.
        description: a line for people.
        size_multiple: of which the network's input sides must be multiples, pixels.
        working_resolution: short side at which the network works unless told otherwise, pixels.
        licence: of the style file.
        data: what it was trained on.
        config_sha256: of the training configuration; empty for imported weights.
        onnx_sha256: of the network's file, checked on loading.
        knobs: names of the numbers that the network takes beside the photo, in its order; 1 is the
            trained default, 0 to 2 the range. Often none.
        recipe: name of the file that the training configuration was read from; empty if there was
            none.
        steps: of the training; 0 for imported weights.
        reach: how far away, in pixels, a pixel of the photo can still change one of the cartoon;
            tiles overlap by it. Cards without it are of networks of the usual size.
        beyond: how many pixels, reflected, the network is shown beyond each edge of a photo; ours
            draw stripes in the outermost ones.
    """

    name: str
    version: str
    description: str
    size_multiple: int
    working_resolution: int
    licence: str
    data: str
    config_sha256: str
    onnx_sha256: str
    knobs: tuple[str, ...] = ()
    reach: int = 126
    beyond: int = 4
    recipe: str = ""
    steps: int = 0


def read_card(folder: Path) -> Card:
    """Read a style's card; entries this version does not know are passed over.

    Raises:
        StyleError: missing, not TOML, too large, or an entry missing or wrong; names the file.
    """
    file = folder / CARD
    try:
        values = tomllib.loads(read_within(file, MAX_CARD).decode())
    except (OSError, ValueError) as error:
        raise StyleError(f"{file}: {_reason(error)}") from error
    except RecursionError as error:
        raise StyleError(f"{file}: nested too deeply") from error
    known: dict[str, Any] = {}
    for field in fields(Card):
        if field.name == "knobs":
            continue
        value = values.get(field.name, None if field.default is MISSING else field.default)
        if type(value) is not field.type:
            wanted = "a number" if field.type is int else "a text"
            raise StyleError(
                f"{file}: {field.name} should be {wanted}, found {reprlib.repr(value)}"
            )
        known[field.name] = value
    card = Card(**known, knobs=_read_knobs(values.get("knobs", ""), file))
    if card.size_multiple < 1 or card.working_resolution < card.size_multiple:
        raise StyleError(f"{file}: size_multiple and working_resolution do not fit together")
    if card.reach < card.size_multiple:
        raise StyleError(f"{file}: reach is less than size_multiple")
    if card.size_multiple > MAX_PADDING or not 0 <= card.beyond <= MAX_PADDING:
        raise StyleError(
            f"{file}: size_multiple and beyond may be {MAX_PADDING} at most, and not negative"
        )
    return card


def _read_knobs(value: Any, file: Path) -> tuple[str, ...]:
    names = tuple(value.split()) if isinstance(value, str) else ("",)
    if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise StyleError(
            f"{file}: knobs should be names with spaces between, found {reprlib.repr(value)}"
        )
    return names


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def write_card(card: Card, folder: Path) -> None:
    """Write a style's card."""
    values = asdict(card)
    if knobs := values.pop("knobs"):
        values["knobs"] = " ".join(knobs)
    lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
    with replacing(folder / CARD) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    printable = "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped)
    return f'"{printable}"'


def styles_folder() -> Path:
    """Give the user's folder of styles: TOONBOX_STYLES, or where this system keeps such data."""
    if told := os.environ.get("TOONBOX_STYLES"):
        return Path(told)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "toonbox" / "styles"


def find_style(name_or_folder: str | Path) -> Path:
    """Find a style's folder: a path, or a name among the user's styles, then the shipped ones.

    Raises:
        StyleError: there is none; says which there are.
    """
    given = Path(name_or_folder)
    candidates = [given]
    if isinstance(name_or_folder, str) and given.name == name_or_folder:
        candidates = [styles_folder() / given, SHIPPED / given, given]
    for folder in candidates:
        if (folder / CARD).is_file():
            return folder
    names = ", ".join(style_names()) or "none"
    raise StyleError(f"no style {str(name_or_folder)!r}; there are: {names}")


def list_styles() -> list[tuple[Card, Path]]:
    """List the user's and the shipped styles with their folders; a user's hides a shipped one.

    Raises:
        StyleError: one is damaged; names it.
    """
    return [(read_card(folder), folder) for folder in _folders().values()]


def style_names() -> list[str]:
    """Name the styles there are, damaged ones too."""
    return list(_folders())


def _folders() -> dict[str, Path]:
    found = {
        card.parent.name: card.parent
        for base in (SHIPPED, styles_folder())
        for card in base.glob(f"*/{CARD}")
        if card.is_file()
    }
    return dict(sorted(found.items()))
