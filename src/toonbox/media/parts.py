"""What animations in GIF, APNG and WebP are made of: stills, each with its place and its time."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Literal

from PIL import Image

from toonbox.media.opening import open_image

FOREVER = 0  # of `Parts.plays`


@dataclass(frozen=True)
class Part:
    """A still, a file of its own, and how it gets onto the canvas.

    Attributes:
        still: what is in the file.
        left, top: its place, in pixels.
        duration: milliseconds until the next one.
        over: it is laid over what is there by its alpha; otherwise it takes the place of that.
        then: what becomes of its place before the next part: it stays, becomes transparent, or
            what was there before comes back.
    """

    still: bytes
    left: int
    top: int
    duration: Fraction
    over: bool = False
    then: Literal["stay", "clear", "restore"] = "stay"


@dataclass(frozen=True)
class Parts:
    """A whole animation.

    Attributes:
        size: width and height of the canvas.
        plays: how often it is shown, FOREVER or a number.
        parts: one for each frame.
        remark: what a person should know about the file; "" for nothing.
    """

    size: tuple[int, int]
    plays: int
    parts: Sequence[Part]
    remark: str = ""


def composited(animation: Parts, name: str) -> Iterator[Image.Image]:
    """Show the canvas, RGBA, at the time of each frame; it begins transparent.

    Errors are those of `opening.open_image`; `name` is what its messages call the file.

    Pillow would do this for GIF and APNG, but it takes a GIF's disposal of 0 for the one before,
    clears to an opaque colour where all browsers clear to nothing, and blends alpha in APNG as
    if it were a colour (seen in 13.0).
    """
    canvas, (width, height) = Image.new("RGBA", animation.size), animation.size
    for part in animation.parts:
        opened = open_image(io.BytesIO(part.still), name, width * height)
        still = opened.convert("RGBA")
        place = (part.left, part.top)
        before = canvas.copy() if part.then == "restore" else None
        if part.over:
            canvas.alpha_composite(still, place)
        else:
            canvas.paste(still, place)
        yield canvas.copy()
        if before is not None:
            canvas = before
        elif part.then == "clear":
            canvas.paste((0, 0, 0, 0), (*place, place[0] + still.width, place[1] + still.height))


def in_steps(durations: Sequence[Fraction], step: Fraction | int) -> list[int]:
    """Round durations to a format's steps so that the times of the frames do not drift.

    Args:
        durations: milliseconds.
        step: milliseconds in one of the format's units.
    """
    times = [round(time / step) for time in accumulate(durations, initial=Fraction(0))]
    return [later - earlier for earlier, later in pairwise(times)]
