"""`toonbox weights`: the published weight files for training and evaluation."""

from typing import Annotated

import typer

from toonbox.cli.terminal import needs

weights = typer.Typer(rich_markup_mode=None)


def weight_names() -> list[str]:
    """List the names of weight files, for completion by the shell."""
    with needs("train"):
        from toonbox.learn.weights import WEIGHTS
    return list(WEIGHTS)


@weights.callback(invoke_without_command=True)
def choose(context: typer.Context) -> None:
    """List the weight files that training can use, or fetch one.

    Training fetches what it needs on first use; cartoonizing needs none.

    \b
    Examples:
      toonbox weights
      toonbox weights fetch efficientnet-lite0
    """
    if context.invoked_subcommand is None:
        list_all()


@weights.command("list")
def list_all() -> None:
    """List each file: what it is for, size, licence, where it comes from, whether it is there."""
    with needs("train"):
        from toonbox.learn.weights import WEIGHTS
    for each in WEIGHTS.values():
        typer.echo(f"{each.name}  {each.megabytes} MB, {each.licence}, by {each.source}")
        typer.echo(f"  for {each.purpose}")
        typer.echo(f"  from {each.url}")
        typer.echo(f"  sha256 {each.sha256}")
        state = "" if each.is_present() else "damaged: " if each.path.exists() else "missing: "
        typer.echo(f"  {state}{each.path}")


@weights.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Of files.", autocompletion=weight_names)
    ],
) -> None:
    """Fetch weight files into the cache, checked by sha256.

    Example: toonbox weights fetch efficientnet-lite0
    """
    with needs("train"):
        from toonbox.learn.weights import fetch, find_weights
    for each in [find_weights(name) for name in names]:
        typer.echo(fetch(each))
