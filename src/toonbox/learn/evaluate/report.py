"""The results of an evaluation as text, JSON, CSV, and an HTML page with pictures."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL import Image

from toonbox.atomic import write_file, writing
from toonbox.learn.evaluate.classifier import Classification
from toonbox.learn.evaluate.distances import Estimate
from toonbox.learn.evaluate.feature_networks import CropRule
from toonbox.learn.evaluate.measures import MEASURES, Measures

BASELINE = "photos"  # names the results of the photos themselves


@dataclass(frozen=True)
class Output:
    """One photo's output: its lossless file and its measures."""

    photo: Path
    file: Path
    measures: Measures


@dataclass(frozen=True)
class Distances:
    """The distances of a style's outputs in one feature network."""

    to_cartoons: Estimate  # Frechet distance
    to_photos: float  # Frechet distance
    kernel: Estimate  # kernel distance (KID) to the cartoons
    called_cartoon: float  # share of crops that a linear probe classifies as cartoon


@dataclass(frozen=True)
class Result:
    """The results of one style, or of the photos themselves, with measures as means."""

    name: str
    resolution: int
    measures: Measures
    outputs: tuple[Output, ...]
    distances: dict[str, Distances]


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation; the first three are numbers of pictures used."""

    photos: int
    cartoons: int
    train_photos: int
    rules: dict[str, CropRule]  # by feature network
    draws: int  # bootstrap draws per distance
    seed: int
    results: tuple[Result, ...]  # of the photos themselves, then of each style
    classification: Classification | None
    unreadable: tuple[str, ...]  # messages that name a file and the reason


@dataclass(frozen=True)
class Table:
    """A table with an explanatory note."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def notes(evaluation: Evaluation) -> list[str]:
    """Return lines that describe what the figures are based on."""
    sizes = ", ".join(f"{result.name} {result.resolution}" for result in evaluation.results)
    lines = [
        f"{evaluation.photos} photos, {evaluation.cartoons} cartoons, seed {evaluation.seed}",
        f"working resolution (largest short side, pixels): {sizes}; photos are never enlarged",
        *(f"features of {name}: {rule.text()}" for name, rule in evaluation.rules.items()),
    ]
    if evaluation.rules:
        learned = "one half of the photos and judges the other half, and vice versa"
        if evaluation.train_photos:
            learned = f"{evaluation.train_photos} training photos"
        draws = f"({evaluation.draws} draws)"
        lines.append(f"in brackets: 95 % intervals from resampled pictures {draws}")
        lines.append(f"the linear probe learns from all cartoons and {learned}")
    return lines


def tables(evaluation: Evaluation) -> list[Table]:
    """Build the tables: one per feature network, the classifier's, and the measures."""
    found = [_distance_table(name, evaluation.results) for name in evaluation.rules]
    if classified := evaluation.classification:
        # The paper's accuracies by representation, then those by style.
        shares = {f"cartoons, {name}": share for name, share in classified.representations.items()}
        shares |= {f"outputs of {name}": share for name, share in classified.styles.items()}
        rows = [
            (name, f"{100 * share:.0f}", f"{100 * classified.accuracy(share):.0f}")
            for name, share in shares.items()
        ]
        note = (
            "Share of crops of held-out pictures that a classifier of photos and cartoons calls "
            "cartoon, and its accuracy on these and the photos: a representation that lowers the "
            "accuracy bridges the domains"
        )
        rows.insert(0, ("photos", f"{100 * classified.photos:.0f}", "-"))
        found.append(Table("Classifier", note, ("", "called cartoon %", "accuracy %"), rows))
    measures = MEASURES.items()
    found.append(
        Table(
            "Content, flatness, outlines, artefacts",
            "; ".join(f"{measure.title}: {measure.help}" for _, measure in measures),
            ("", *(measure.title for _, measure in measures)),
            [
                (result.name, *(m.show(result.measures[name]) for name, m in measures))
                for result in evaluation.results
            ],
        )
    )
    return found


def _distance_table(network: str, results: Sequence[Result]) -> Table:
    def interval(estimate: Estimate, scale: float = 1) -> str:
        value, low, high = (scale * each for each in (estimate.value, estimate.low, estimate.high))
        return f"{value:.1f} [{low:.1f}, {high:.1f}]"

    rows = []
    for result in results:
        found = result.distances[network]
        to_photos = "-" if result.name == BASELINE else f"{found.to_photos:.1f}"
        intervals = interval(found.to_cartoons), to_photos, interval(found.kernel, 1000)
        rows.append((result.name, *intervals, f"{100 * found.called_cartoon:.0f}"))
    return Table(
        f"Features of {network}",
        "Frechet and KID: lower is closer; compare only figures of equal picture counts "
        "and crops; probe %: share of crops that a linear probe classifies as cartoon",
        ("", "Frechet to cartoons", "Frechet to photos", "KID x1000 to cartoons", "probe %"),
        rows,
    )


def text(evaluation: Evaluation) -> str:
    """Format the evaluation for a terminal."""
    parts = ["\n".join(notes(evaluation))]
    for table in tables(evaluation):
        rows = [table.columns, *table.rows]
        first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([name.ljust(first), *map(str.rjust, cells, widths)]) for name, *cells in rows
        ]
        parts.append("\n".join([table.title, *lines]))
    return "\n\n".join(parts) + "\nMeans over photos."


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Write results.json, results.csv, per-photo.csv, and index.html with its pictures.

    Raises OutputError if a file cannot be written.
    """
    addresses = {}
    for number, result in enumerate(evaluation.results):
        for index, output in enumerate(result.outputs):
            addresses[output.file] = f"pictures/{index:05}-{number}.jpg"
    for file, address in addresses.items():
        with writing(out / address) as temporary, Image.open(file) as opened:
            opened.save(temporary, quality=92, subsampling=0)
    values = asdict(evaluation)
    for row in values["results"]:
        row["outputs"] = [{"photo": str(o["photo"]), **o["measures"]} for o in row["outputs"]]
    per_photo = [
        {"photo": output["photo"], "name": row["name"], **output}
        for row in values["results"]
        for output in row["outputs"]
    ]
    names = [result.name for result in evaluation.results]
    template = files("toonbox.learn.evaluate").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(template).render(
        title=f"Evaluation of {', '.join(names[1:])}",
        names=names,
        notes=notes(evaluation),
        tables=tables(evaluation),
        photos=zip(*(result.outputs for result in evaluation.results), strict=True),
        addresses=addresses,
        measures=MEASURES,
    )
    written = {
        "results.json": json.dumps({"notes": notes(evaluation), **values}, indent=1) + "\n",
        "results.csv": _csv([_line(result) for result in evaluation.results]),
        "per-photo.csv": _csv(per_photo),
        "index.html": page,
    }
    for name, content in written.items():
        # Names of photos need not be UTF-8.
        write_file(out / name, content.encode(errors="backslashreplace"))


def _line(result: Result) -> dict[str, object]:
    """Return the numbers of a style, with the distances of all networks."""
    line: dict[str, object] = {"name": result.name, "resolution": result.resolution}
    for network, found in result.distances.items():
        for name, it in (("frechet", found.to_cartoons), ("kernel", found.kernel)):
            column = f"{network} {name}_to_cartoons"
            line |= {column: it.value, f"{column}_low": it.low, f"{column}_high": it.high}
        line[f"{network} frechet_to_photos"] = found.to_photos
        line[f"{network} called_cartoon"] = found.called_cartoon
    return line | result.measures


def _csv(lines: Sequence[dict[str, object]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, lines[0])
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()
