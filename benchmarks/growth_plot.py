"""The page of benchmarks/growth.py: a panel for each thing that grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

Point = dict[str, float]  # "at", how much there was to do, and what was measured there
Series = dict[str, list[Point]]  # by name; what begins with LIMIT is drawn dashed
LIMIT = "limit: "
SHORT = 10  # times the least value


@dataclass(frozen=True)
class Panel:
    """What a panel shows.

    Attributes:
        title: above it.
        of: whose series.
        field: of their points, shown upwards; series without it are left out.
        across: the name of the axis to the right.
        upward: the name of the other.
    """

    title: str
    of: str
    field: str
    across: str
    upward: str


PROCESSOR, PEAK = "processor seconds", "peak memory, MB"
PANELS = (
    Panel("A photo: time", "photo", "worked", "megapixels", PROCESSOR),
    Panel("A photo: memory", "photo", "peak", "megapixels", PEAK),
    Panel("Ray workers", "workers", "rate", "workers", "pictures a second"),
    Panel("A video: time", "video", "worked", "seconds of video", PROCESSOR),
    Panel("A video: memory", "video", "peak", "seconds of video", PEAK),
    Panel("One object store, simulated", "store", "rate", "workers", "pictures a second"),
    Panel("A folder: time", "folder", "worked", "files", PROCESSOR),
    Panel("A folder: memory", "folder", "peak", "files", PEAK),
    Panel("Training, one core", "training", "rate", "base channels", "steps a second"),
)


def draw(found: Mapping[str, Series], file: Path, note: str) -> None:
    """Write the page as a PNG. Axes are logarithmic; short upward ones are not, and begin at 0.

    Args:
        found: series by what grows.
        file: to write.
        note: what stands below the panels.
    """
    shown = [panel for panel in PANELS if panel.of in found]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.9 * rows + 0.5), layout="constrained")
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, shown, strict=False):
        for name, points in found[panel.of].items():
            pairs = [(point["at"], point[panel.field]) for point in points if panel.field in point]
            if pairs:
                dashed = name.startswith(LIMIT)
                axes.plot(*zip(*pairs, strict=True), "--" if dashed else "o-", label=name, ms=4)
        axes.set(xscale="log", title=panel.title)
        lowest, highest = axes.dataLim.intervaly
        if highest < SHORT * lowest:
            axes.set_ylim(0)
        else:
            axes.set_yscale("log")
        axes.set(xlabel=panel.across, ylabel=panel.upward)
        ticks: Sequence[float] = sorted(
            {point["at"] for points in found[panel.of].values() for point in points}
        )
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.supxlabel(note, fontsize="small")
    figure.savefig(file, dpi=90)
