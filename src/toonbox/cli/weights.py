"""`toonbox weights`: the published weight files for training and evaluation."""

from typer import Argument, echo

from toonbox.cli.terminal import needs
from toonbox.errors import UsageError


def weight_names() -> list[str]:
    """List the names of weight files, for completion by the shell."""
    with needs("train"):
        from toonbox.learn.weights import WEIGHTS
    return list(WEIGHTS)


def weights(
    names: list[str] | None = Argument(
        None,
        metavar="NAME...",
        help="Files to fetch.",
        autocompletion=weight_names,
        show_default=False,
    ),
) -> None:
    """List the weight files that training can use, or fetch some into the cache.

    Training fetches what it needs on first use; cartoonizing needs none.

    \b
    Examples:
      toonbox weights
      toonbox weights efficientnet-lite0
    """
    with needs("train"):
        from toonbox.learn.weights import WEIGHTS, fetch

    if unknown := [name for name in names or [] if name not in WEIGHTS]:
        raise UsageError(f"no weights {unknown[0]!r}; available: {', '.join(WEIGHTS)}")
    for name in names or []:
        echo(fetch(WEIGHTS[name]))
    for each in [] if names else WEIGHTS.values():
        state = "" if each.is_present() else "damaged: " if each.path.exists() else "missing: "
        echo(f"{each.name}  {each.megabytes} MB, {each.licence}, by {each.source}")
        for line in (f"for {each.purpose}", f"from {each.url}", f"sha256 {each.sha256}"):
            echo(f"  {line}")
        echo(f"  {state}{each.path}")
