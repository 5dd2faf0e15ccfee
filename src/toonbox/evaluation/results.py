"""What an evaluation finds."""

from dataclasses import dataclass
from pathlib import Path

from toonbox.evaluation.classifier import Classification
from toonbox.evaluation.features import CropRule
from toonbox.evaluation.frechet import Estimate
from toonbox.evaluation.measures import Measures

STARTING_POINT = "photos"  # the name of the row of the photos themselves


@dataclass(frozen=True)
class Output:
    """One photo's output: its lossless file and what was measured on it."""

    photo: Path
    file: Path
    measures: Measures


@dataclass(frozen=True)
class Distances:
    """What one feature network says of a row.

    Attributes:
        to_cartoons: Frechet distance.
        to_photos: Frechet distance to the very photos; 0 for these.
        kernel: kernel distance to the cartoons, KID.
        called_cartoon: share of crops that a linear probe calls cartoon.
    """

    to_cartoons: Estimate
    to_photos: float
    kernel: Estimate
    called_cartoon: float


@dataclass(frozen=True)
class Row:
    """The results of the photos themselves or of one style; `measures` are means over photos."""

    name: str
    resolution: int
    measures: Measures
    outputs: tuple[Output, ...]
    distances: dict[str, Distances]


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        photos, cartoons, train_photos: how many pictures were used.
        rules: how crops were taken, by feature network.
        draws: of each bootstrap interval of a Frechet distance.
        seed: of crops, draws and halves.
        rows: the photos themselves, then each style.
        classification: what a trained classifier calls cartoon, if one was asked for.
        unreadable: messages that name the file and the reason.
    """

    photos: int
    cartoons: int
    train_photos: int
    rules: dict[str, CropRule]
    draws: int
    seed: int
    rows: tuple[Row, ...]
    classification: Classification | None
    unreadable: tuple[str, ...]
