"""What commands declare alike: options, and how the values that people type are read."""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from typer import BadParameter, Option

from toonbox.cli.terminal import show_tracebacks
from toonbox.errors import UsageError
from toonbox.options import DEFAULT_STYLE, Resolution, StyleOptions, option


def parse_resolution(text: str) -> Resolution:
    """Read a resolution as typed; `StyleOptions` refuses what is neither pixels nor 'native'."""
    return int(text) if text.isdecimal() else text  # type: ignore[return-value]


def parse_memory(text: str) -> int:
    """Read a size as typed: bytes, or K, M, G or T of them, each 1024 times the one before."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise BadParameter(f"{text!r} is not a size such as 800M or 1.5G.")
    return int(float(match[1]) * 1024 ** (" KMGT".index(match[2].upper() or " ")))


def parse_time(text: str) -> float:
    """Read a time as typed, in seconds: 90, 1:30, 0:01:30.5."""
    parts = text.split(":")
    try:
        numbers = [*map(int, parts[:-1]), float(parts[-1])]
        if len(numbers) > 3 or min(numbers) < 0 or not float(sum(numbers)) < float("inf"):
            raise ValueError
    except ValueError:
        raise BadParameter(f"{text!r} is not a time such as 90 or 1:30.5.") from None
    return float(sum(n * 60**place for place, n in enumerate(reversed(numbers))))


# By what the help shows for the value.
PARSERS: dict[str, Callable[[str], Any]] = {
    "N|native": parse_resolution,
    "SIZE": parse_memory,
    "TIME": parse_time,
}


def style_names() -> list[str]:
    """Return the names of the styles there are, for completion by the shell."""
    from toonbox.engine import style

    return style.style_names()


def style_folder(name: str, parent: Path | None) -> Path:
    """Return the folder of a new style; raise UsageError if the name cannot be that of a folder."""
    from toonbox.engine.style import styles_folder

    if name in ("", "..") or Path(name).name != name:
        raise UsageError(f"--name: {name!r} cannot be the name of a folder")
    return (parent or styles_folder()) / name


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """What commands that draw have in common."""

    style: str = option(
        DEFAULT_STYLE,
        "Name of a style (see `toonbox styles`), or its folder.",
        metavar="NAME|DIR",
        autocompletion=style_names,
    )
    include: list[str] | None = option(
        None,
        "In folders, only pictures that match, by name or path below the folder. Repeatable.",
        metavar="GLOB",
    )
    exclude: list[str] | None = option(
        None, "In folders, skip pictures and folders that match. Repeatable.", metavar="GLOB"
    )
    threads: int | None = option(
        None, "Threads for the network. Default: one for each core.", min=1
    )
    jobs: int | None = option(
        None,
        "Pictures, or frames of a video, to process at a time. "
        "Default: one for each core, at most four frames.",
        min=1,
    )
    json: bool = option(False, "Report each picture as a line of JSON on standard output.")


ENGINE = Option("auto", "--engine", help="What runs the network.")
FORCE = Option(False, "--force", help="Overwrite existing files.")
DEBUG = Option(
    False, "--debug", callback=show_tracebacks, help="Print the tracebacks of unexpected errors."
)
FOLDER: dict[str, Any] = {"metavar": "DIR", "exists": True, "file_okay": False}
FILE: dict[str, Any] = {"metavar": "FILE", "exists": True, "dir_okay": False}

STYLE_METAVAR = "NAME|DIR[:KEY=VALUE,...]"
STYLE_KEYS = "KEY is surface, structure, texture, strength or resolution."


def parse_style(text: str, defaults: StyleOptions) -> tuple[str, StyleOptions]:
    """Split a style as typed, `STYLE_METAVAR`, into its name or folder, and how it draws.

    The settings replace `defaults`; a path may have colons of its own.

    Raises:
        UsageError: no such setting, or not a value for it; names both.
    """
    name, *settings = re.split(r":(?=\w+=)", text, maxsplit=1)
    values: dict[str, Any] = {}
    for setting in settings[0].split(",") if settings else []:
        key, _, value = setting.partition("=")
        if key not in (known := [each.name for each in fields(StyleOptions)]):
            raise UsageError(f"{text}: no setting {key!r}, only {', '.join(known)}")
        try:
            values[key] = parse_resolution(value) if key == "resolution" else float(value)
        except ValueError:
            raise UsageError(f"{text}: {key} should be a number, not {value!r}") from None
    return name, replace(defaults, **values)
