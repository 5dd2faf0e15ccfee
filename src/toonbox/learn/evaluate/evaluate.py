"""Everything that `toonbox evaluate` measures: from pictures and styles to one result.

The way of a photo: `_draw` (to its output, measured beside the photo) -> `_Describer` (to
features, by each network) -> `_with_distances` (of all outputs to all cartoons).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from toonbox.atomic import replacing
from toonbox.errors import DataError, PictureError, UsageError
from toonbox.learn.evaluate.classifier import (
    Classification,
    ClassifierConfig,
    classify,
    train_classifier,
)
from toonbox.learn.evaluate.distances import (
    CropRule,
    FeatureNetwork,
    Probe,
    bootstrap,
    crops_of,
    features_of,
    frechet_distance,
    kernel_estimate,
    linear_probe,
)
from toonbox.learn.evaluate.measures import SMALLEST, means, measure
from toonbox.learn.evaluate.report import STARTING_POINT, Distances, Evaluation, Output, Row
from toonbox.learn.inspect import UNREADABLE
from toonbox.pixels import FloatArray, Uint8Array


def read_picture(file: Path) -> Uint8Array:
    """Read a picture as it is shown: (H, W, 3) RGB.

    Raises:
        PictureError: it cannot be read, or a side is under 64 pixels, too little to measure.
    """
    try:
        with Image.open(file) as opened:
            rgb = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except UNREADABLE as error:
        raise PictureError(f"{file}: {error}") from error
    if min(rgb.shape[:2]) < SMALLEST:
        raise PictureError(f"{file}: under {SMALLEST} pixels high or wide")
    return rgb


class Reader:
    """Reads lists of pictures, passing over those that cannot be read.

    Attributes:
        failures: why, by file.
    """

    def __init__(self) -> None:
        self.failures: dict[Path, str] = {}

    def __call__(self, files: Sequence[Path], least: int = 1) -> Iterator[tuple[Path, Uint8Array]]:
        """Give each readable file with its picture, one at a time.

        Raises:
            DataError: at the end, if fewer than `least` could be read; says why.
        """
        read = 0
        for file in files:
            if file in self.failures:
                continue
            try:
                rgb = read_picture(file)
            except PictureError as error:
                self.failures[file] = str(error)
                continue
            read += 1
            yield file, rgb
        if read < least:
            reasons = [self.failures[file] for file in files if file in self.failures]
            raise DataError(
                "\n".join([f"{read} of {len(files)} pictures can be used, too few", *reasons])
            )


def shrunk(rgb: Uint8Array, short_side: int) -> Uint8Array:
    """Bring (H, W, 3) to a short side in pixels, as stylising does; smaller ones stay."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short <= short_side:
        return rgb
    size = (round(width * short_side / short), round(height * short_side / short))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3))


def save_lossless(rgb: Uint8Array, file: Path) -> None:
    """Write (H, W, 3) as PNG, quickly rather than small."""
    with replacing(file) as temporary:
        Image.fromarray(rgb).save(temporary, compress_level=1)


Advance = Callable[[], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]

LEAST_PHOTOS = 4  # two halves of two
LEAST_PICTURES = 2


@dataclass(frozen=True)
class Subject:
    """Something that makes cartoons, to be evaluated.

    Attributes:
        name: in the tables.
        resolution: short side, in pixels, that photos are brought to first; smaller ones stay.
        cartoonize: (H, W, 3) to the same.
    """

    name: str
    resolution: int
    cartoonize: Callable[[Uint8Array], Uint8Array]


@contextmanager
def quiet(description: str, total: int) -> Iterator[Advance]:
    """Show no progress."""
    yield lambda: None


def evaluate(
    subjects: Sequence[Subject],
    photos: Sequence[Path],
    cartoons: Sequence[Path],
    networks: Sequence[FeatureNetwork],
    *,
    work: Path,
    train_photos: Sequence[Path] = (),
    classifier: ClassifierConfig | None = None,
    draws: int = 20,
    seed: int = 0,
    progress: Progress = quiet,
) -> Evaluation:
    """Measure styles on photos.

    Args:
        subjects: the styles, at least one.
        photos: held out from training, at least four that can be read.
        cartoons: what outputs should look like, at least two that can be read.
        networks: whose features are compared; none leaves distances out.
        work: an empty folder for the outputs.
        train_photos: for the linear probe. Without them it learns from one half of `photos` and
            judges outputs of the other, and the other way round.
        classifier: how to train a classifier, on training photos (without them, half of `photos`,
            and it judges the others only) and three quarters of the cartoons; None trains none.
        draws: of each bootstrap interval of a Frechet distance, at least 2.
        seed: of crops, draws and halves.
        progress: shows how far it is: called with a description and a count of steps.
    Raises:
        UsageError: two subjects or two networks of one name.
        DataError: too few pictures can be read.
    """
    themselves = Subject(STARTING_POINT, subjects[0].resolution, lambda photo: photo)
    _require_own_names("style", [themselves, *subjects])
    _require_own_names("feature network", networks)
    read = Reader()
    rows = []
    for place, subject in enumerate((themselves, *subjects)):
        folder = work / str(place)
        folder.mkdir(parents=True)
        outputs = _draw(subject, photos, read, folder, progress)
        average = means([output.measures for output in outputs])
        rows.append(Row(subject.name, subject.resolution, average, outputs, {}))
    rules = {}
    for network in networks:
        rules[network.name] = CropRule(size=network.size, seed=seed)
        describe = _Describer(network, rules[network.name], read, progress)
        rows = _with_distances(rows, describe, cartoons, train_photos, draws)
    classification = None
    if classifier:
        classification = _classification(
            rows, cartoons, train_photos, classifier, seed, read, progress
        )
    return Evaluation(
        photos=len(rows[0].outputs),
        cartoons=sum(file not in read.failures for file in cartoons),
        train_photos=sum(file not in read.failures for file in train_photos),
        rules=rules,
        draws=draws,
        seed=seed,
        rows=tuple(rows),
        classification=classification,
        unreadable=tuple(read.failures.values()),
    )


def _require_own_names(kind: str, named: Sequence[Subject] | Sequence[FeatureNetwork]) -> None:
    names = [each.name for each in named]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two rows or columns would be called {name!r}: one {kind} too many")


def _draw(
    subject: Subject, photos: Sequence[Path], read: Reader, folder: Path, progress: Progress
) -> tuple[Output, ...]:
    """Make and measure a subject's output of every photo."""
    outputs = []
    with progress(subject.name, len(photos)) as advance:
        for index, (photo, rgb) in enumerate(read(photos, LEAST_PHOTOS)):
            small = shrunk(rgb, subject.resolution)
            cartoon = subject.cartoonize(small)
            file = folder / f"{index:05}.png"
            save_lossless(cartoon, file)
            outputs.append(Output(photo, file, measure(small, cartoon)))
            advance()
    return tuple(outputs)


@dataclass(frozen=True)
class _Describer:
    """Turns files into features."""

    network: FeatureNetwork
    rule: CropRule
    read: Reader
    progress: Progress

    def __call__(self, what: str, files: Sequence[Path]) -> FloatArray:
        """Give (readable files, crops, D)."""
        with self.progress(f"{self.network.name}: {what}", len(files)) as advance:
            pictures = (rgb for _, rgb in self.read(files, LEAST_PICTURES))
            return features_of(pictures, self.network, self.rule, advance=advance)


def _with_distances(
    rows: Sequence[Row],
    describe: _Describer,
    cartoons: Sequence[Path],
    train_photos: Sequence[Path],
    draws: int,
) -> list[Row]:
    """Add what one network says to each row."""
    name, seed = describe.network.name, describe.rule.seed
    drawn = describe("cartoons", cartoons)
    described = [describe(row.name, [o.file for o in row.outputs]) for row in rows]
    trained = describe("training photos", train_photos) if train_photos else None
    judges = _judges(described[0], drawn, trained, seed)
    done = []
    with describe.progress(f"{name}: intervals", draws * len(rows)) as advance:
        for row, features in zip(rows, described, strict=True):
            distances = Distances(
                to_cartoons=bootstrap(frechet_distance, features, drawn, draws, seed, advance),
                to_photos=frechet_distance(crops_of(features), crops_of(described[0])),
                kernel=kernel_estimate(features, drawn, seed=seed),
                called_cartoon=_called_cartoon(judges, features),
            )
            done.append(replace(row, distances={**row.distances, name: distances}))
    return done


def _judges(
    photos: FloatArray, cartoons: FloatArray, train_photos: FloatArray | None, seed: int
) -> list[tuple[Probe, npt.NDArray[np.int64]]]:
    """Give probes, each with the places of photos it may judge, all of them together."""
    if train_photos is not None:
        return [(linear_probe(train_photos, cartoons, seed), np.arange(len(photos)))]
    order = np.random.default_rng(seed).permutation(len(photos))
    one, other = np.array_split(order, 2)
    return [
        (linear_probe(photos[learned], cartoons, seed), judged)
        for learned, judged in ((one, other), (other, one))
    ]


def _called_cartoon(
    judges: list[tuple[Probe, npt.NDArray[np.int64]]], outputs: FloatArray
) -> float:
    """Give the share of crops, in [0, 1], that is called cartoon."""
    called = sum(probe(outputs[places]) * len(places) for probe, places in judges)
    return float(called / len(outputs))


def _classification(
    rows: Sequence[Row],
    cartoons: Sequence[Path],
    train_photos: Sequence[Path],
    config: ClassifierConfig,
    seed: int,
    read: Reader,
    progress: Progress,
) -> Classification:
    """Train a classifier, and test it on pictures that it has not seen."""
    order = np.random.default_rng(seed).permutation(len(rows[0].outputs))
    judged = order if train_photos else order[: len(order) // 2]
    own_photos = [rows[0].outputs[place].file for place in order[len(order) // 2 :]]
    mixed = [cartoons[place] for place in np.random.default_rng(seed).permutation(len(cartoons))]
    quarter = max(1, len(mixed) // 4)
    held_out, drawn = mixed[:quarter], mixed[quarter:]
    held_files = {row.name: [row.outputs[place].file for place in judged] for row in rows}

    def pictures(files: Sequence[Path]) -> Iterator[Uint8Array]:
        return (rgb for _, rgb in read(files))

    with progress("classifier: training", config.steps) as advance:
        network = train_classifier(
            pictures(train_photos or own_photos), pictures(drawn), config, advance
        )
    total = len(judged) * len(rows) + len(held_out)
    with progress("classifier: test", total) as advance:
        return classify(
            network,
            pictures(held_files.pop(STARTING_POINT)),
            pictures(held_out),
            {name: pictures(files) for name, files in held_files.items()},
            config.rule,
            advance,
        )
