"""What a style is told, as typed: by options, or with its name, `NAME|DIR[:KEY=VALUE,...]`."""

import re
from typing import TYPE_CHECKING, Any, cast

import typer

from toonbox.cli.photos import parse_resolution

if TYPE_CHECKING:
    from toonbox.engine.stylize import Look, Resolution

METAVAR = "NAME|DIR[:KEY=VALUE,...]"
KEYS = "KEY is surface, structure, texture, strength or resolution."
NUMBERS = ("surface", "structure", "texture", "strength")


def look_of(
    strength: float,
    resolution: str | None,
    surface: float | None,
    structure: float | None,
    texture: float | None,
) -> "Look":
    """Put options together.

    Raises:
        typer.BadParameter: neither pixels nor 'native' for the resolution.
    """
    return {
        "strength": strength,
        "resolution": parse_resolution(resolution),
        "surface": surface,
        "structure": structure,
        "texture": texture,
    }


def parse_style(text: str, defaults: "Look") -> tuple[str, "Look"]:
    """Take a style and its settings apart; a path may have colons of its own.

    Args:
        text: as typed.
        defaults: what it is told unless its settings say otherwise.
    Returns:
        Its name or folder, and what to tell it.
    Raises:
        typer.BadParameter: no such setting, or not a value for it; names both.
    """
    name, *settings = re.split(r":(?=\w+=)", text, maxsplit=1)
    look: dict[str, Any] = dict(defaults)
    for setting in settings[0].split(",") if settings else []:
        key, _, value = setting.partition("=")
        look[key] = _parse_setting(key, value, text)
    return name, cast("Look", look)


def _parse_setting(key: str, value: str, text: str) -> "float | Resolution":
    if key == "resolution":
        return parse_resolution(value, "--style")
    if key not in NUMBERS:
        keys = ", ".join((*NUMBERS, "resolution"))
        raise typer.BadParameter(
            f"{text}: no setting {key!r}, only {keys}.", param_hint="'--style'"
        )
    try:
        return float(value)
    except ValueError:
        raise typer.BadParameter(
            f"{text}: {key} should be a number, not {value!r}.", param_hint="'--style'"
        ) from None
