"""An evaluation's figures laid out in tables, for a terminal and for the page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from toonbox.evaluation.classifier import Classification
from toonbox.evaluation.frechet import Estimate
from toonbox.evaluation.measures import Measures
from toonbox.evaluation.results import STARTING_POINT, Distances, Evaluation, Row


@dataclass(frozen=True)
class Column:
    """How a measure is shown.

    Attributes:
        title: over the column.
        help: what it is, in a line.
        scale: to multiply by.
        places: behind the decimal point.
    """

    title: str
    help: str
    scale: float = 1
    places: int = 1

    def show(self, value: float) -> str:
        """Write a value out."""
        return f"{value * self.scale:.{self.places}f}"


MEASURES = {
    "edge_similarity": Column(
        "edge SSIM", "likeness of luminance edges to the photo's; 1 is the same", places=3
    ),
    "colour_drift": Column("delta E", "median colour difference to the photo, both blurred"),
    "colour_segments": Column("segments", "colour segments per megapixel", places=0),
    "flat_share": Column("flat %", "pixels with a luminance gradient under 1 level", 100),
    "interior_energy": Column(
        "interior", "squared levels of fine detail away from the photo's edges", places=2
    ),
    "outline_contrast": Column(
        "outline", "levels by which dark lines stand out along the photo's strongest edges"
    ),
    "checkerboard_energy": Column(
        "checker", "squared levels in patterns of 2, 4 and 8 pixels beyond the photo's", places=2
    ),
    "clipped_share": Column("clipped %", "pixels clipped by the style", 100, 2),
}


@dataclass(frozen=True)
class Table:
    """A title, a sentence, the columns' titles and rows of cells."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def notes(evaluation: Evaluation) -> list[str]:
    """Say what the figures stand on, line by line."""
    sizes = ", ".join(f"{row.name} {row.resolution}" for row in evaluation.rows)
    probe = (
        f"{evaluation.train_photos} training photos"
        if evaluation.train_photos
        else "one half of the photos, judging the other, both ways round"
    )
    lines = [
        f"{evaluation.photos} photos, {evaluation.cartoons} cartoons, seed {evaluation.seed}",
        f"working size: short side at most, in pixels: {sizes}; photos are never enlarged",
    ]
    for name, rule in evaluation.rules.items():
        lines.append(f"features of {name}: {rule.text()}")
    if evaluation.rules:
        lines.append(
            f"in brackets: 95 % intervals, pictures drawn again ({evaluation.draws} draws)"
        )
        lines.append(f"the linear probe learns from all cartoons and {probe}")
    return lines


def tables(evaluation: Evaluation) -> list[Table]:
    """Lay the figures out: a table for each feature network, the classifier's, the measures'."""
    found = [_distance_table(name, evaluation.rows) for name in evaluation.rules]
    legend = "; ".join(f"{column.title}: {column.help}" for column in MEASURES.values())
    rows = tuple((row.name, *_measure_cells(row.measures)) for row in evaluation.rows)
    titles = ("", *(column.title for column in MEASURES.values()))
    if evaluation.classification:
        found.append(_classifier_table(evaluation.classification))
    return [*found, Table("Content, flatness, outlines, artefacts", legend, titles, rows)]


def _distance_table(network: str, rows: Sequence[Row]) -> Table:
    titles = ("", "Frechet to cartoons", "Frechet to photos", "KID x1000 to cartoons", "probe %")
    cells = tuple((row.name, *_distance_cells(row, row.distances[network])) for row in rows)
    note = (
        "Frechet and KID: lower is nearer, and comparable only between figures of equal picture "
        "counts and crops; probe %: share of crops that a linear probe calls cartoon"
    )
    return Table(f"Features of {network}", note, titles, cells)


def _distance_cells(row: Row, distances: Distances) -> tuple[str, ...]:
    itself = row.name == STARTING_POINT
    return (
        _interval(distances.to_cartoons),
        "-" if itself else f"{distances.to_photos:.1f}",
        _interval(distances.kernel, 1000),
        f"{100 * distances.called_cartoon:.0f}",
    )


def _classifier_table(found: Classification) -> Table:
    """The paper's table: accuracy on cartoons by representation; then on each style's outputs."""
    shares = {f"cartoons, {name}": share for name, share in found.representations.items()}
    shares |= {f"outputs of {name}": share for name, share in found.styles.items()}
    rows = [("photos", f"{100 * found.photos:.0f}", "-")]
    for name, share in shares.items():
        rows.append((name, f"{100 * share:.0f}", f"{100 * found.accuracy(share):.0f}"))
    note = (
        "Share of crops of held-out pictures that a classifier of photos and cartoons calls "
        "cartoon, and how accurately it tells them from photos: a representation that lowers "
        "the accuracy bridges the two"
    )
    return Table("Classifier", note, ("", "called cartoon %", "accuracy %"), tuple(rows))


def _interval(estimate: Estimate, scale: float = 1) -> str:
    value, low, high = (scale * each for each in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _measure_cells(measures: Measures) -> list[str]:
    values = asdict(measures)
    return [column.show(values[name]) for name, column in MEASURES.items()]


def text(evaluation: Evaluation) -> str:
    """Write everything for a terminal."""
    parts = ["\n".join(notes(evaluation))]
    for table in tables(evaluation):
        parts.append("\n".join([table.title, *_aligned([table.columns, *table.rows])]))
    return "\n\n".join(parts) + "\nMeans over photos."


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad cells so that names start and figures end below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
