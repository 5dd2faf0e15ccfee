"""Print the tables of data.md from data-credits.tsv: `python docs/data_tables.py`."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

Row = dict[str, str]


def main() -> None:
    """Print all three tables as Markdown."""
    with Path(__file__).with_name("data-credits.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    photos = [row for row in rows if row["file"].startswith("photos/")]
    cartoons = [row for row in rows if row["file"].startswith("cartoons/")]
    print_table("Photographs from", photos, photo_source)
    print_table("Illustrator", cartoons, lambda row: row["credit"].removeprefix("illustrated by "))
    print("| Left out | Photographs | Cartoons |\n| --- | ---: | ---: |")
    reasons = [Counter(reason(row) for row in part) for part in (photos, cartoons)]
    for why in sorted({*reasons[0], *reasons[1]} - {""}):
        print(f"| {why} | {reasons[0][why]} | {reasons[1][why]} |")


def print_table(title: str, rows: Iterable[Row], group: Callable[[Row], str]) -> None:
    """Count the pictures there are and those kept, by group, most first."""
    rows = list(rows)
    found = Counter((group(row), row["licence"]) for row in rows)
    kept = Counter((group(row), row["licence"]) for row in rows if not row["left out"])
    print(f"| {title} | Licence | Pictures | Kept |\n| --- | --- | ---: | ---: |")
    for key, count in found.most_common():
        print(f"| {key[0]} | {key[1].removesuffix(' (book)')} | {count} | {kept[key]} |")
    print(f"| **All** | | **{found.total()}** | **{kept.total()}** |\n")


def photo_source(row: Row) -> str:
    """Name the project a photograph is from; of a textbook, its repository."""
    if row["source"].startswith("OpenStax, "):
        return "OpenStax, " + row["source"].split(", ")[1].removeprefix("osbooks-")
    return row["source"].split(" ")[0]


def reason(row: Row) -> str:
    """Say why a picture is left out, without naming the one it repeats."""
    return row["left out"].split(" of ")[0]


if __name__ == "__main__":
    main()
