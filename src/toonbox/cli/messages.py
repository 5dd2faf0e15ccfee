"""Texts on a terminal, which obeys no file."""

import unicodedata

import typer

# Control characters, invisible ones (some turn the direction of writing), halves, ends of lines.
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Spell out what a terminal would obey instead of showing, escapes first of all."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _OBEYED else c for c in text)


def complain(message: str) -> None:
    """Print a message, of one line or several, on standard error, after the command's name."""
    typer.echo("toonbox: " + "\n".join(map(printable, message.split("\n"))), err=True)
