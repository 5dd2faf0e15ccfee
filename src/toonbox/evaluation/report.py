"""What an evaluation leaves behind: JSON, CSV, and a page with pictures."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toonbox.errors import OutputError
from toonbox.evaluation.page import page, write_pictures
from toonbox.evaluation.results import Evaluation
from toonbox.evaluation.tables import notes
from toonbox.files import replacing


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
