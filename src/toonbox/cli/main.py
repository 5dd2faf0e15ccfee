"""The command `toonbox`: its commands, and one place that maps errors to exit codes."""

import functools
import inspect
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, NoReturn, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from toonbox.cli.options import PARSERS
from toonbox.cli.terminal import complain, message_of, output_fails, show_tracebacks
from toonbox.errors import ConfigError, ToonboxError, UsageError
from toonbox.options import VideoOptions, choices_of
from toonbox.version import __version__

# In the order of the help; the module of each is imported when the command or its help is wanted.
COMMANDS = (
    *("cartoonize", "watch", "camera", "serve", "compare", "page"),
    *("train", "export", "evaluate", "styles", "look", "weights"),
)


class _PhotosOrCommand(TyperGroup):
    """Takes `toonbox PHOTO...` for `toonbox cartoonize PHOTO...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own_options = {name for option in self.get_params(ctx) for name in option.opts}
        if args and args[0] not in COMMANDS and args[0] not in own_options:
            args = ["cartoonize", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        photos = cmd_name == "cartoonize"
        module = import_module(f"toonbox.cli.{'convert' if photos else cmd_name}")
        alone = typer.Typer(rich_markup_mode=None)
        if isinstance(command := getattr(module, cmd_name), typer.Typer):
            alone.add_typer(command, name=cmd_name)
        else:
            alone.command(cls=_PhotosCommand if photos else None)(_with_options(command))
        return get_group(alone).commands[cmd_name]


app = typer.Typer(
    cls=_PhotosOrCommand,
    no_args_is_help=True,
    subcommand_metavar="PHOTO... | COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


VIDEO_PANEL = "Options for videos"


class _PhotosCommand(TyperCommand):
    """Lists the options for videos after the others, under their own heading."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = self.params
        videos = [p for p in shown if getattr(p, "rich_help_panel", None) == VIDEO_PANEL]
        self.params = [p for p in shown if p not in videos]
        super().format_options(ctx, formatter)
        self.params = shown
        with formatter.section(VIDEO_PANEL):
            formatter.write_dl(filter(None, (p.get_help_record(ctx) for p in videos)))


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option for each field of its parameters of option classes.

    Of `Annotated[StyleOptions, "strength", "resolution"]` only these fields.
    """
    own: list[inspect.Parameter] = []
    taken: dict[str, tuple[Any, list[inspect.Parameter]]] = {}
    for each in inspect.signature(command, eval_str=True).parameters.values():
        kind, *names = get_args(each.annotation) or [each.annotation]
        if is_dataclass(kind):
            chosen = [f for f in fields(kind) if not names or f.name in names]
            taken[each.name] = kind, [_option(kind, field) for field in chosen]
        else:
            own.append(each.replace(kind=each.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, (kind, options) in taken.items():
            given[name] = kind(**{each.name: given.pop(each.name) for each in options})
        command(**given)

    parameters = [*own, *(each for _, options in taken.values() for each in options)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _option(kind: Any, field: "Field[Any]") -> inspect.Parameter:
    """Make a command's parameter of a field of an option class."""
    settings: dict[str, Any] = dict(field.metadata)
    type_: Any = Literal[choices] if (choices := choices_of(field)) else field.type
    if kind is VideoOptions:
        settings["rich_help_panel"] = VIDEO_PANEL
    if parser := PARSERS.get(settings.get("metavar", "")):
        type_, settings["parser"] = str, parser
        settings.pop("min", None)
    default = settings.pop("typed", field.default)
    if default is None:
        type_ = type_ | None
    if environment := getattr(kind, "ENVIRONMENT", ""):
        settings["envvar"] = f"{environment}{field.name.upper()}"
    flag = f"--{field.name.replace('_', '-')}"
    option = typer.Option(... if default is MISSING else default, flag, **settings)
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, keyword, default=option, annotation=type_)


class _Messages(logging.Handler):
    """Prints the library's warnings on what is standard error at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(self.format(record))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"toonbox {__version__}")
        raise typer.Exit


@app.callback()
def toonbox(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Turn photographs and videos into cartoons.

    \b
    Examples:
      toonbox photo.jpg                    writes photo.toon.jpg next to it
      toonbox holiday/ -o cartoons/        everything in a folder and its subfolders
      toonbox clip.mp4                     writes clip.toon.mp4, with its sound
      toonbox --strength 0.6 photo.jpg     closer to the photo
      toonbox cartoonize --help            every option for photos
      toonbox watch in/ -o out/            pictures as they arrive
      toonbox camera                       a live camera, in a window
      toonbox serve                        a page in the browser, and a JSON API
      toonbox styles                       list the installed styles

    If a file has the name of a command, put ./ before it: toonbox ./styles
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    The exit codes are 0 for all done, 1 for some input failed, 2 for wrong usage, 130 for Ctrl-C
    and 143 for SIGTERM (0, 130 and wrong options are typer's own).

    Args:
        arguments: what follows the command's name; None for the process's own.
    """
    if sys.stderr is None:  # closed, and the next file that is opened would take its place
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files may be anything; standard error is so already.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.basicConfig(handlers=[_Messages()], format="%(message)s", force=True)
    show_tracebacks(False)
    # Pillow warns about damaged metadata of pictures that it reads all the same.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        sys.exit(app(args=arguments, prog_name="toonbox"))
    except ToonboxError as error:
        complain(message_of(error))
        sys.exit(2 if isinstance(error, UsageError | ConfigError) else 1)
    except OSError as error:
        if output_fails():
            complain(f"standard output cannot be written: {error.strerror}")
        else:
            complain(message_of(error))
        sys.exit(1)
