"""Settings in TOML files, checked by pydantic; errors name the entry."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from toonbox.errors import ConfigError

T = TypeVar("T")


def read_toml(file: Path) -> dict[str, Any]:
    """Read a TOML file; raise ConfigError, which names it, if it is missing or not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: {reason}") from error


def check(adapter: TypeAdapter[T], values: Any, source: str) -> T:
    """Validate values and return them as settings.

    Raises:
        ConfigError: an unknown name, or a value of the wrong type or out of range; names `source`
            and each of them.
    """
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        places = [".".join(map(str, e["loc"])) or "settings" for e in error.errors()]
        reasons = [e["msg"].removeprefix("Value error, ") for e in error.errors()]
        wrong = "; ".join(f"{at}: {why}" for at, why in zip(places, reasons, strict=True))
        raise ConfigError(f"{source}: {wrong}") from error
