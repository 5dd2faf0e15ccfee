"""Evaluate styles on photos: draw, measure, compare features, test a classifier."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from toonbox.atomic import replacing
from toonbox.errors import DataError, PictureError, ToonboxError, UsageError
from toonbox.images.picture import decode
from toonbox.learn.evaluate.classifier import (
    Classification,
    ClassifierConfig,
    classify,
    train_classifier,
)
from toonbox.learn.evaluate.distances import (
    bootstrap,
    crops_of,
    frechet_distance,
    kernel_distance,
    linear_probe,
)
from toonbox.learn.evaluate.feature_networks import CropRule, FeatureNetwork, features_of
from toonbox.learn.evaluate.measures import SMALLEST, means, measure
from toonbox.learn.evaluate.report import BASELINE, Distances, Evaluation, Output, Result
from toonbox.learn.progress import tracked
from toonbox.parallel import failing_alone
from toonbox.pixels import FloatArray, Uint8Array, from_levels, to_eight_bits, to_levels

LEAST_PHOTOS = 4  # two halves of two
LEAST_PICTURES = 2


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a function of (H, W, 3) at a working resolution, the short side."""

    name: str
    resolution: int
    cartoonize: Callable[[Uint8Array], Uint8Array]


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
) -> Evaluation:
    """Evaluate styles on photos that were held out from training, of which four must be readable.

    Args:
        cartoons: targets of the distances and the classifier, which need at least two.
        work: empty folder for the outputs.
        train_photos: photos for the linear probe and the classifier, reduced to the working
            resolution of the first subject. Without them, they learn from one half of `photos` and
            judge the other, the probe both ways.
        classifier: its configuration (it trains on three quarters of the cartoons); None for none.
        draws: bootstrap draws per distance, at least 2.
    Raises:
        UsageError: two subjects or two networks have the same name.
        DataError: too few pictures are readable.
    """
    everything = [Subject(BASELINE, subjects[0].resolution, lambda photo: photo), *subjects]
    for kind, names in (
        ("style", [subject.name for subject in everything]),
        ("feature network", [network.name for network in networks]),
    ):
        if repeated := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"{repeated[0]!r} names more than one {kind}")
    read = Reader()
    results = []
    for number, subject in enumerate(everything):
        small = read(photos, LEAST_PHOTOS, subject.name, subject.resolution)
        outputs = _draw(subject, small, work / str(number))
        average = means([output.measures for output in outputs])
        results.append(Result(subject.name, subject.resolution, average, outputs, {}))
    against = results, cartoons, train_photos, read
    rules = {network.name: CropRule(size=network.size, seed=seed) for network in networks}
    for network in networks:
        _add_distances(network, rules[network.name], draws, *against)
    classification = _classification(classifier, seed, *against) if classifier else None
    return Evaluation(
        photos=len(results[0].outputs),
        cartoons=sum(file not in read.failures for file in cartoons),
        train_photos=sum(file not in read.failures for file in train_photos),
        rules=rules,
        draws=draws,
        seed=seed,
        results=tuple(results),
        classification=classification,
        unreadable=tuple(read.failures.values()),
    )


class Reader:
    """Read lists of pictures, skip unreadable ones, and collect the reasons in `failures`."""

    def __init__(self) -> None:
        self.failures: dict[Path, str] = {}

    def __call__(
        self, files: Sequence[Path], least: int, description: str, short_side: int | None = None
    ) -> Iterator[tuple[Path, Uint8Array]]:
        """Yield each readable file with its picture, reduced to any `short_side`; show a bar.

        Raises DataError at the end, with the reasons, if fewer than `least` were readable.
        """
        count = 0
        for file in tracked(files, description, len(files)):
            if file in self.failures:
                continue
            try:
                with failing_alone(str(file)):
                    rgb = read_srgb(file)
            except ToonboxError as error:
                self.failures[file] = str(error)
                continue
            count += 1
            yield file, rgb if short_side is None else shrunk(rgb, short_side)
        if count < least:
            reasons = [self.failures[file] for file in files if file in self.failures]
            lines = [f"too few usable pictures: {count} of {len(files)}", *reasons]
            raise DataError("\n".join(lines))


def read_srgb(file: Path) -> Uint8Array:
    """Read a picture upright as sRGB, (H, W, 3); raise PictureError if it is under 64 pixels."""
    picture = decode(file)
    if min(picture.size) < SMALLEST:
        raise PictureError(f"{file}: under {SMALLEST} pixels on one side")
    if picture.colours is None:
        return to_eight_bits(picture.rgb)
    return from_levels(picture.colours.to_srgb(to_levels(picture.rgb)), np.uint8)


def shrunk(rgb: Uint8Array, short_side: int) -> Uint8Array:
    """Reduce (H, W, 3) to a short side in pixels; never enlarge."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    if short <= short_side:
        return rgb
    size = (round(width * short_side / short), round(height * short_side / short))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3))


def _draw(
    subject: Subject, photos: Iterable[tuple[Path, Uint8Array]], folder: Path
) -> tuple[Output, ...]:
    """Draw and measure every photo; write the outputs losslessly to a new folder."""
    folder.mkdir(parents=True)
    outputs: list[Output] = []
    for photo, rgb in photos:
        cartoon = subject.cartoonize(rgb)
        file = folder / f"{len(outputs):05}.png"
        with replacing(file) as temporary:
            Image.fromarray(cartoon).save(temporary, compress_level=1)
        outputs.append(Output(photo, file, measure(rgb, cartoon)))
    return tuple(outputs)


def _add_distances(
    network: FeatureNetwork,
    rule: CropRule,
    draws: int,
    results: Sequence[Result],
    cartoons: Sequence[Path],
    train_photos: Sequence[Path],
    read: Reader,
) -> None:
    """Compare the features of each result with those of cartoons and photos."""

    def describe(what: str, files: Sequence[Path], short_side: int | None = None) -> FloatArray:
        found = read(files, LEAST_PICTURES, f"{network.name}: {what}", short_side)
        return features_of((rgb for _, rgb in found), network, rule)

    drawn = describe("cartoons", cartoons)
    features = [describe(r.name, [output.file for output in r.outputs]) for r in results]
    photos = features[0]
    # Each probe with the indices of the photos it judges, which it was not trained on.
    if train_photos:
        trained = describe("training photos", train_photos, results[0].resolution)
        probes = [(linear_probe(trained, drawn, rule.seed), np.arange(len(photos)))]
    else:
        halves = np.array_split(np.random.default_rng(rule.seed).permutation(len(photos)), 2)
        probes = [
            (linear_probe(photos[learned], drawn, rule.seed), judged)
            for learned, judged in (halves, reversed(halves))
        ]
    rows = zip(results, features, strict=True)
    for result, each in tracked(rows, f"{network.name}: intervals", len(results)):
        called = sum(probe(each[judged]) * len(judged) for probe, judged in probes)
        result.distances[network.name] = Distances(
            to_cartoons=bootstrap(frechet_distance, each, drawn, draws, rule.seed),
            to_photos=frechet_distance(crops_of(each), crops_of(photos)),
            kernel=bootstrap(kernel_distance, each, drawn, draws, rule.seed),
            called_cartoon=float(called / len(each)),
        )


def _classification(
    config: ClassifierConfig,
    seed: int,
    results: Sequence[Result],
    cartoons: Sequence[Path],
    train_photos: Sequence[Path],
    read: Reader,
) -> Classification:
    """Train a classifier and test it on other pictures."""

    def pictures(files: Sequence[Path], short_side: int | None = None) -> Iterator[Uint8Array]:
        return (rgb for _, rgb in read(files, 1, "classifier: reading", short_side))

    order, mixed = (
        np.random.default_rng(seed).permutation(len(files))
        for files in (results[0].outputs, cartoons)
    )
    half, quarter = len(order) // 2, max(1, len(mixed) // 4)
    judged = order if train_photos else order[:half]
    learned = train_photos or [results[0].outputs[i].file for i in order[half:]]
    held_out, drawn = ([cartoons[i] for i in part] for part in (mixed[:quarter], mixed[quarter:]))
    reduced = pictures(learned, results[0].resolution)
    network = train_classifier(reduced, pictures(drawn), config)
    outputs = {r.name: pictures([r.outputs[i].file for i in judged]) for r in results}
    baseline = outputs.pop(BASELINE)
    return classify(network, baseline, pictures(held_out), outputs, config.rule)
