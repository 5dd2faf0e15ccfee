"""Options of commands: those of `toonbox.options` as typer sees them, and the commands' own."""

import inspect
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from toonbox.errors import UsageError
from toonbox.options import (
    DEFAULT_STYLE,
    Resolution,
    StyleOptions,
    VideoOptions,
    choices_of,
    option,
)

VIDEO_PANEL = "Options for videos"

Command = Callable[..., None]


def takes(*kinds: type[Any] | tuple[Any, ...]) -> Callable[[Command], Command]:
    """Add the fields of option classes to a command as its options, in place of `**given`.

    Args:
        kinds: the classes, each alone or in a tuple with the names of the fields to take of it.
    """
    taken: list[inspect.Parameter] = []
    for each in kinds:
        kind, *names = each if isinstance(each, tuple) else (each,)
        taken += [_parameter(kind, f) for f in fields(kind) if not names or f.name in names]

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        named = [each for each in own if each.kind is not each.VAR_KEYWORD]
        parameters = [*(each.replace(kind=each.KEYWORD_ONLY) for each in named), *taken]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        return command

    return decorate


def _parameter(kind: type[Any], declared: "Field[Any]") -> inspect.Parameter:
    """Make a command's parameter of an option's declaration."""
    settings: dict[str, Any] = dict(declared.metadata)
    type_: Any = Literal[choices] if (choices := choices_of(declared)) else declared.type
    if kind is VideoOptions:
        settings["rich_help_panel"] = VIDEO_PANEL
    if parser := PARSERS.get(settings.get("metavar", "")):
        type_, settings["parser"] = str, parser
        settings.pop("min", None)
    required = declared.default is MISSING
    if declared.default is None:
        type_ = type_ | None
    if environment := getattr(kind, "ENVIRONMENT", ""):
        settings["envvar"] = f"{environment}{declared.name.upper()}"
    flag = f"--{declared.name.replace('_', '-')}"
    return inspect.Parameter(
        declared.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else settings.pop("typed", declared.default),
        annotation=Annotated[type_, typer.Option(flag, **settings)],
    )


class CommandWithVideoOptions(TyperCommand):
    """Lists the options for videos after the others, under their own heading."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        shown = self.params
        videos = [p for p in shown if getattr(p, "rich_help_panel", None) == VIDEO_PANEL]
        self.params = [p for p in shown if p not in videos]
        super().format_options(ctx, formatter)
        self.params = shown
        with formatter.section(VIDEO_PANEL):
            formatter.write_dl([r for p in videos if (r := p.get_help_record(ctx)) is not None])


def parse_resolution(text: str) -> Resolution:
    """Read a resolution as typed.

    Raises:
        typer.BadParameter: neither pixels nor 'native'.
    """
    if text == "native":
        return "native"
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(f"{text!r} is neither a number of pixels nor 'native'.")
    return int(text)


def parse_memory(text: str) -> int:
    """Read a size as typed: bytes, or with K, M, G or T after it, each 1024 times the one before.

    Raises:
        typer.BadParameter: not a size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not a size such as 800M or 1.5G.")
    return int(float(match[1]) * 1024 ** (" KMGT".index(match[2].upper() or " ")))


def parse_time(text: str) -> float:
    """Read a time as typed, in seconds: 90, 1:30, 0:01:30.5.

    Raises:
        typer.BadParameter: not a time.
    """
    parts = text.split(":")
    try:
        numbers = [*map(int, parts[:-1]), float(parts[-1])]
        if len(numbers) > 3 or min(numbers) < 0 or not float(sum(numbers)) < float("inf"):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 90 or 1:30.5.") from None
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


Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
Engine = Literal["auto", "onnxruntime", "openvino", "cuda"]
EngineName = Annotated[Engine, typer.Option("--engine", help="What runs the network.")]


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


def existing_folder(help: str | None = None) -> Any:
    """Declare an option that names a folder which must be there."""
    return typer.Option(metavar="DIR", help=help, exists=True, file_okay=False)


def existing_file(help: str | None = None) -> Any:
    """Declare an option that names a file which must be there."""
    return typer.Option(metavar="FILE", help=help, exists=True, dir_okay=False)


METAVAR = "NAME|DIR[:KEY=VALUE,...]"
KEYS = "KEY is surface, structure, texture, strength or resolution."


def parse_style(text: str, defaults: StyleOptions) -> tuple[str, StyleOptions]:
    """Split a style from its settings; a path may have colons of its own.

    Args:
        text: as typed: NAME|DIR[:KEY=VALUE,...].
        defaults: what the settings replace.
    Returns:
        Name or folder, and how it draws.
    Raises:
        typer.BadParameter, UsageError: no such setting, or not a value for it; names both.
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
