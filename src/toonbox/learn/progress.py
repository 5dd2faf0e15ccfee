"""Bars on standard error, if that is a terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn

Item = TypeVar("Item")


def bars(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """Return bars with columns after the usual ones; transient ones vanish in the end."""
    console = Console(stderr=True)
    columns = *Progress.get_default_columns(), *columns
    hidden = not console.is_terminal
    return Progress(*columns, console=console, transient=transient, disable=hidden)


def tracked(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield items, and show a bar that counts them."""
    with bars(MofNCompleteColumn(), transient=True) as bar:
        yield from bar.track(items, total, description=description)
