"""Looks, TOML files of drawing parameters; this folder has the shipped ones."""

from pathlib import Path

from pydantic import TypeAdapter

from toonbox.errors import ConfigError
from toonbox.learn.representations.drawing import Look
from toonbox.learn.settings import check, read_toml

SHIPPED = Path(__file__).parent
_ADAPTER = TypeAdapter(Look)


def look_names() -> list[str]:
    """Return the names of the shipped looks, sorted."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def look_file(name: str) -> Path:
    """Return the file of a shipped look; raise ConfigError, which lists them, for another name."""
    if name not in look_names():
        raise ConfigError(f"no look {name!r}; available: {', '.join(look_names())}")
    return SHIPPED / f"{name}.toml"


def load_look(look: str | Path) -> Look:
    """Load a shipped look by name, or a file: a Path, or a string that ends in .toml.

    Raises ConfigError for what is unknown or out of range.
    """
    own = isinstance(look, Path) or look.endswith(".toml")
    file = Path(look) if own else look_file(str(look))
    return check(_ADAPTER, read_toml(file), str(file))
