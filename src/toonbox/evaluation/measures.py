"""All measures of one photo and its cartoon that need no network, and their means."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from toonbox.evaluation.artefacts import checkerboard_energy, clipped_share
from toonbox.evaluation.content import colour_drift, edge_similarity
from toonbox.evaluation.flatness import colour_segments, flat_share, interior_energy
from toonbox.evaluation.outline import outline_contrast
from toonbox.pixels import Uint8Array


@dataclass(frozen=True)
class Measures:
    """The measures of one output, each by the function of its name.

    Attributes:
        edge_similarity: SSIM of edge maps; 1 is the photo's.
        colour_drift: median delta E.
        colour_segments: per megapixel.
        flat_share: of pixels, in [0, 1].
        interior_energy: squared levels of 255.
        outline_contrast: levels of 255.
        checkerboard_energy: squared levels of 255.
        clipped_share: of pixels, in [0, 1].
    """

    edge_similarity: float
    colour_drift: float
    colour_segments: float
    flat_share: float
    interior_energy: float
    outline_contrast: float
    checkerboard_energy: float
    clipped_share: float


def measure(photo: Uint8Array, output: Uint8Array) -> Measures:
    """Take every measure.

    Args:
        photo: (H, W, 3), at least 64 x 64, at the size at which the network worked.
        output: the same shape.
    Raises:
        ShapeError: the shapes differ or are too small.
    """
    return Measures(
        edge_similarity=edge_similarity(photo, output),
        colour_drift=colour_drift(photo, output),
        colour_segments=colour_segments(output),
        flat_share=flat_share(output),
        interior_energy=interior_energy(photo, output),
        outline_contrast=outline_contrast(photo, output),
        checkerboard_energy=checkerboard_energy(photo, output),
        clipped_share=clipped_share(photo, output),
    )


def means(measures: Sequence[Measures]) -> Measures:
    """Average each measure over pictures; medians would hide what goes wrong in a few of them."""
    values = [asdict(each) for each in measures]
    return Measures(**{name: float(np.mean([v[name] for v in values])) for name in values[0]})
