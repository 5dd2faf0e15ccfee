"""Run all benchmarks that measure ratios, and keep what they find.

`python -m benchmarks` takes about an hour on two cores, `--quick` under ten minutes. The table at
the end has each ratio beside what is wanted of it; the JSON file keeps them with the machine, so
that a regression between two releases shows: `python -m benchmarks --against OLD.json`.
"""

import argparse
import importlib
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # as for a benchmark that is started by itself

from machine import machine  # noqa: E402
from ratios import Ratio, print_ratios  # noqa: E402

# What each is started with: as usual, and to be quick.
BENCHMARKS = {
    "inference": ("", "--repeats 3"),
    "many": ("", "--repeats 2 --count 4"),
    "folder": ("", "--count 12"),
    "memory": ("", "--early 100 --late 500"),
    "serve": ("", "--count 8 --requests 300"),
    "browser": ("", "--repeats 2"),
    "video": ("", "--frames 160 --repeats 2 --authors-frames 2"),
    "steadiness": ("--frames 24", "--frames 8"),
    "video_memory": (
        "--resolution 180 --rate 1",
        "--resolution 96 --size 640x360 --seconds 12 --times 5",
    ),
}
WORSE = 1.1  # times, from which on a ratio counts as a regression


def regressions(found: list[Ratio], before: dict[str, float]) -> list[str]:
    """Name what has become worse by more than noise explains."""
    worse = []
    for ratio in found:
        old = before.get(ratio.name)
        if old is None or not ratio.wanted:
            continue
        times = old / ratio.value if ratio.at_least is not None else ratio.value / old
        if times > WORSE:
            worse.append(f"{ratio.name}: {old:.3f} -> {ratio.value:.3f}")
    return worse


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ratios.")
    parser.add_argument("--quick", action="store_true", help="smaller tasks, more noise")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="repeatable")
    parser.add_argument("--output", "-o", type=Path, help="a JSON file to write")
    parser.add_argument("--against", type=Path, help="such a file; exit 1 if a ratio is worse")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run it; return the exit code."""
    options = parse_options(arguments)
    found: list[Ratio] = []
    for name in options.only or BENCHMARKS:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        found += importlib.import_module(name).main(BENCHMARKS[name][options.quick].split())
        print(f"({time.monotonic() - began:.0f} s)\n", flush=True)
    about = machine()
    print(f"== all, on {about['processor']} {about['abilities']}")
    print_ratios(found)
    if options.output:
        ratios = {ratio.name: asdict(ratio) for ratio in found}
        options.output.write_text(json.dumps({"machine": about, "ratios": ratios}, indent=1))
    if options.against:
        old = json.loads(options.against.read_text())["ratios"]
        worse = regressions(found, {name: ratio["value"] for name, ratio in old.items()})
        print(*(worse or ["nothing is worse than before"]), sep="\n")
        return 1 if worse else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
