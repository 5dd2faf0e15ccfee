"""The page of an evaluation: its tables, and every photo beside what the styles made of it."""

import re
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template

from PIL import Image

from toonbox.evaluation.results import Evaluation, Output, Row
from toonbox.evaluation.tables import MEASURES, Table, notes, tables
from toonbox.files import replacing

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
