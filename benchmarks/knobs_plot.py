"""The plot of benchmarks/knobs.py: a panel a knob, a thin line a photo, a bold one the mean."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

WIDTH, HEIGHT = 300, 240  # of a panel's axes, in pixels
LEFT, TOP, BETWEEN, BOTTOM = 64, 44, 84, 56  # around them
MOST_TICKS = 6
SHOWN = 95  # per cent of values that the upward axis must hold; single photos may leave it

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.ground { fill: #ffffff }
.axis { stroke: #59636e; fill: none }
.grid { stroke: #d1d9e0; fill: none }
.photo { stroke: #818b98; stroke-width: .8; stroke-opacity: .55; fill: none }
.mean { stroke: #0969da; stroke-width: 3.5; stroke-linejoin: round; fill: none }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.ground { fill: #0d1117 }
.axis { stroke: #9198a1 }
.grid { stroke: #30363d }
.mean { stroke: #58a6ff }
}
"""


@dataclass(frozen=True)
class Panel:
    """What a panel shows.

    Attributes:
        knob: its title, and the name of the axis to the right.
        measure: the name of the upward axis.
        values: (photos, settings) of the measure.
    """

    knob: str
    measure: str
    values: Numbers


def plot(panels: Sequence[Panel], settings: Sequence[float], default: int) -> str:
    """Draw panels side by side, readable in light and in dark.

    Every photo's values are shown in shares of its value at the default, and so are the means;
    photos where that is 0 have no line.

    Args:
        panels: at least one.
        settings: of the knobs, rising.
        default: place among them of the knobs' default.
    Returns:
        An SVG document.
    """
    width = LEFT + len(panels) * (WIDTH + BETWEEN) - BETWEEN // 2
    height = TOP + HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">',
        f"<title>{escape(', '.join(f'{p.measure} by {p.knob}' for p in panels))}</title>",
        f"<style>{STYLE}</style>",
        f'<clipPath id="axes"><rect width="{WIDTH}" height="{HEIGHT}"/></clipPath>',
        f'<rect class="ground" width="{width}" height="{height}"/>',
    ]
    for place, panel in enumerate(panels):
        parts.append(f'<g transform="translate({LEFT + place * (WIDTH + BETWEEN)} {TOP})">')
        parts += _panel(panel, settings, default)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, settings: Sequence[float], default: int) -> list[str]:
    shown = panel.values[panel.values[:, default] > 0]
    lines = shown / shown[:, [default]]
    mean = panel.values.mean(axis=0)
    mean = mean / mean[default] if mean[default] else np.zeros(0)
    ends = [*np.percentile(lines, SHOWN, axis=0), *mean] if len(lines) else []
    highest = float(max([1.0, *ends]))
    step = tick_step(highest)
    top = step * math.ceil(round(highest / step, 6))

    def x(setting: float) -> float:
        return WIDTH * (setting - settings[0]) / (settings[-1] - settings[0])

    def y(value: float) -> float:
        return HEIGHT * (1 - value / top)

    def line(kind: str, values: Iterable[float]) -> str:
        pairs = zip(settings, values, strict=False)
        points = " ".join(f"{x(setting):.1f},{y(value):.1f}" for setting, value in pairs)
        return f'<polyline class="{kind}" points="{points}"/>'

    parts = [
        f'<text class="title" x="{WIDTH / 2}" y="-18" text-anchor="middle">{panel.knob}</text>'
    ]
    for value in np.arange(0, top + step / 2, step):
        at = f"{y(value):.1f}"
        parts.append(f'<path class="grid" d="M0 {at}H{WIDTH}"/>')
        parts.append(f'<text x="-10" y="{at}" dy=".35em" text-anchor="end">{value:g}</text>')
    for setting in settings:
        at = f"{x(setting):.1f}"
        parts.append(f'<path class="axis" d="M{at} {HEIGHT}v5"/>')
        parts.append(f'<text x="{at}" y="{HEIGHT + 20}" text-anchor="middle">{setting:g}</text>')
    upward = f"{panel.measure}, by its value at {settings[default]:g}"
    parts += [
        '<g clip-path="url(#axes)">',
        *(line("photo", values) for values in lines),
        line("mean", mean),
        "</g>",
        f'<path class="axis" d="M0 0V{HEIGHT}H{WIDTH}"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT + 42}" text-anchor="middle">{panel.knob}</text>',
        f'<text transform="translate(-46 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(upward)}</text>",
    ]
    return parts


def tick_step(highest: float) -> float:
    """Give the least of 0.1, 0.2, 0.5, 1, 2, 5 ... that takes up to MOST_TICKS to `highest`."""
    steps = (factor * 10.0**power for power in range(-1, 300) for factor in (1, 2, 5))
    return next(step for step in steps if highest <= MOST_TICKS * step)
