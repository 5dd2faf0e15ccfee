"""What an evaluation leaves behind: JSON, CSV, and a page with pictures."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from toonbox.atomic import replacing
from toonbox.errors import OutputError
from toonbox.learn.evaluate.classifier import Classification
from toonbox.learn.evaluate.distances import CropRule, Estimate
from toonbox.learn.evaluate.measures import Measures

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


JPEG_QUALITY = 92

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark;
  --ground: #fafaf8; --card: #fff; --ink: #1c1d20; --faint: #63666d; --line: #e2e2dc;
}
@media (prefers-color-scheme: dark) {
  :root { --ground: #16171a; --card: #1f2125; --ink: #e8e8e4; --faint: #9b9ea6; --line: #33363c; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 120rem; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem;
  background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
}
h1 { margin: 0 0 .5rem; font-size: 1.6rem; }
h2 { margin: 2.5rem 0 .25rem; font-size: 1.15rem; }
p, ul { margin: .25rem 0; max-width: 75rem; color: var(--faint); font-size: .9rem; }
ul { padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table {
  border-collapse: collapse; background: var(--card); font-variant-numeric: tabular-nums;
  border: 1px solid var(--line);
}
th, td {
  padding: .45rem .9rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line);
}
tr:last-child > * { border-bottom: 0; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
thead th { color: var(--faint); font-weight: 500; font-size: .85rem; }
tbody th { font-weight: 600; }
article { margin-top: 1.5rem; }
h3 { margin: 0 0 .4rem; font-size: .9rem; font-weight: 500; overflow-wrap: anywhere; }
.row {
  display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
}
figure {
  margin: 0; max-width: 60rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .4rem; overflow: hidden;
}
img { display: block; width: 100%; height: auto; }
figcaption { padding: .6rem .8rem .7rem; font-size: .8rem; }
dl { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .2rem 0 0; color: var(--faint); }
dl div { display: flex; gap: .35rem; }
dt, dd { margin: 0; }
dd { color: var(--ink); font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<h1>$title</h1>
<ul>$notes</ul>
$tables
<h2>Photos and outputs</h2>
<p>At the size at which they were measured; click one to see it alone.</p>
$sheet
</body>
</html>
""")


def write_pictures(evaluation: Evaluation, folder: Path) -> dict[Path, str]:
    """Write each output as JPEG.

    Returns:
        The JPEG's address as seen from beside `folder`, by the output's file.
    """
    folder.mkdir(exist_ok=True)
    addresses = {}
    for place, row in enumerate(evaluation.rows):
        for index, output in enumerate(row.outputs):
            plain = re.sub(r"[^A-Za-z0-9_-]+", "-", row.name)
            file = folder / f"{index:05}-{place}-{plain}.jpg"
            with Image.open(output.file) as opened, replacing(file) as temporary:
                opened.save(temporary, quality=JPEG_QUALITY, subsampling=0)
            addresses[output.file] = f"{folder.name}/{file.name}"
    return addresses


def page(evaluation: Evaluation, addresses: dict[Path, str]) -> str:
    """Write the page.

    Args:
        evaluation: what to show.
        addresses: of the pictures, by output file.
    """
    names = ", ".join(row.name for row in evaluation.rows[1:])
    rows = zip(*(row.outputs for row in evaluation.rows), strict=True)
    return PAGE.substitute(
        title=escape(f"Evaluation of {names}"),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes(evaluation)),
        tables="\n".join(_table(table) for table in tables(evaluation)),
        sheet="\n".join(_article(evaluation.rows, outputs, addresses) for outputs in rows),
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in table.columns)
    body = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in table.rows
    )
    return (
        f"<h2>{escape(table.title)}</h2>\n"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n<p>{escape(table.note)}.</p>"
    )


def _article(rows: tuple[Row, ...], outputs: tuple[Output, ...], addresses: dict[Path, str]) -> str:
    figures = "\n".join(
        _figure(row.name, output, addresses[output.file])
        for row, output in zip(rows, outputs, strict=True)
    )
    name = escape(outputs[0].photo.name)
    return f'<article><h3>{name}</h3><div class="row">\n{figures}\n</div></article>'


def _figure(name: str, output: Output, address: str) -> str:
    values = asdict(output.measures)
    measures = "".join(
        f'<div title="{escape(column.help)}"><dt>{escape(column.title)}</dt>'
        f"<dd>{column.show(values[key])}</dd></div>"
        for key, column in MEASURES.items()
    )
    label = escape(f"{output.photo.name}: {name}")
    return (
        f'<figure><a href="{escape(address)}"><img src="{escape(address)}" alt="{label}"'
        f' loading="lazy"></a>\n<figcaption><strong>{escape(name)}</strong>'
        f"<dl>{measures}</dl></figcaption></figure>"
    )


def results(evaluation: Evaluation) -> dict[str, Any]:
    """Give everything but the pictures as what JSON can hold."""
    values = asdict(evaluation)
    for row in values["rows"]:
        row["outputs"] = [
            {"photo": str(output["photo"]), **output["measures"]} for output in row["outputs"]
        ]
    return {"notes": notes(evaluation), **values}


def results_csv(evaluation: Evaluation) -> str:
    """Give a line for each row, the distances of each network side by side."""
    lines = []
    for row in evaluation.rows:
        line: dict[str, object] = {"name": row.name, "resolution": row.resolution}
        for network, distances in row.distances.items():
            for name, value in (
                ("frechet_to_cartoons", distances.to_cartoons),
                ("kernel_to_cartoons", distances.kernel),
            ):
                line |= {f"{network} {name}": value.value}
                line |= {f"{network} {name}_low": value.low, f"{network} {name}_high": value.high}
            line[f"{network} frechet_to_photos"] = distances.to_photos
            line[f"{network} called_cartoon"] = distances.called_cartoon
        lines.append(line | asdict(row.measures))
    return _csv(lines)


def per_photo_csv(evaluation: Evaluation) -> str:
    """Give a line for each photo and row."""
    return _csv(
        [
            {"photo": str(output.photo), "name": row.name, **asdict(output.measures)}
            for row in evaluation.rows
            for output in row.outputs
        ]
    )


def _csv(lines: Sequence[dict[str, object]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, lines[0])
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def write_report(evaluation: Evaluation, out: Path) -> None:
    """Write results.json, results.csv, per-photo.csv, index.html and its pictures.

    Args:
        evaluation: with its outputs' files still there.
        out: folder, made if it is not there; files of these names are replaced.
    Raises:
        OutputError: it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        pictures = write_pictures(evaluation, out / "pictures")
        written = {
            "results.json": json.dumps(results(evaluation), indent=1) + "\n",
            "results.csv": results_csv(evaluation),
            "per-photo.csv": per_photo_csv(evaluation),
            "index.html": page(evaluation, pictures),
        }
        for name, content in written.items():
            with replacing(out / name) as temporary:
                temporary.write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise OutputError(f"{out}: {error}") from error
