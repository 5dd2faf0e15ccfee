"""Looks as TOML files of a dozen numbers: the shipped ones lie in this folder."""

from pathlib import Path

from pydantic import TypeAdapter

from toonbox.errors import ConfigError
from toonbox.learn.representations.drawing import Look
from toonbox.settings import check, read_toml

SHIPPED = Path(__file__).parent
_ADAPTER = TypeAdapter(Look)


def look_names() -> list[str]:
    """List the names of the shipped looks."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def look_file(name: str) -> Path:
    """Return the file of a shipped look.

    Raises:
        ConfigError: there is none of this name; names those there are.
    """
    if name not in look_names():
        raise ConfigError(f"no look {name!r}; there are {', '.join(look_names())}")
    return SHIPPED / f"{name}.toml"


def load_look(look: str | Path) -> Look:
    """Read a shipped look by its name, or a file: a path, or a text that ends in .toml.

    Raises:
        ConfigError: no such look, an unknown number, or one out of range.
    """
    own = isinstance(look, Path) or look.endswith(".toml")
    file = Path(look) if own else look_file(str(look))
    return check(_ADAPTER, read_toml(file), str(file))
