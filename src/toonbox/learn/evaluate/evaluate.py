"""Evaluate styles on photos, as `toonbox evaluate` does.

Each style draws each photo, and each output is measured against its photo. Then feature networks
compare all outputs with cartoons and photos, and a classifier is tested on them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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
    kernel_estimate,
    linear_probe,
)
from toonbox.learn.evaluate.feature_networks import CropRule, FeatureNetwork, features_of
from toonbox.learn.evaluate.measures import SMALLEST, means, measure
from toonbox.learn.evaluate.report import BASELINE, Distances, Evaluation, Output, Result
from toonbox.parallel import failing_alone
from toonbox.pixels import FloatArray, Uint8Array, from_levels, to_eight_bits, to_levels

Advance = Callable[[], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]

LEAST_PHOTOS = 4  # two halves of two
LEAST_PICTURES = 2


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a function of (H, W, 3) at a working resolution, the short side."""

    name: str
    resolution: int
    cartoonize: Callable[[Uint8Array], Uint8Array]


@contextmanager
def no_progress(description: str, total: int) -> Iterator[Advance]:
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
    progress: Progress = no_progress,
) -> Evaluation:
    """Evaluate styles on photos.

    Args:
        photos: held out from training; at least four must be readable.
        cartoons: targets of the distances and the classifier, which need at least two readable
            ones.
        networks: feature networks for the distances; empty for none.
        work: empty folder for the outputs.
        train_photos: photos for the linear probe and the classifier. Without them, two probes
            learn from one half of `photos` each and judge the other, and the classifier learns
            from one half and judges the other.
        classifier: configuration of the classifier, which also trains on three quarters of the
            cartoons; None for no classifier.
        draws: bootstrap draws per Frechet distance, at least 2.
        seed: seed of crops, draws and splits.
        progress: called with a description and a number of steps.
    Raises:
        UsageError: two subjects or two networks have the same name.
        DataError: too few pictures are readable.
    """
    everything = [Subject(BASELINE, subjects[0].resolution, lambda photo: photo), *subjects]
    _refuse_repeated_names("style", [subject.name for subject in everything])
    _refuse_repeated_names("feature network", [network.name for network in networks])
    read = Reader()
    results = []
    for number, subject in enumerate(everything):
        with progress(subject.name, len(photos)) as advance:
            outputs = _draw(subject, read(photos, LEAST_PHOTOS), work / str(number), advance)
        average = means([output.measures for output in outputs])
        results.append(Result(subject.name, subject.resolution, average, outputs, {}))
    against = _Against(cartoons, train_photos, read, progress, seed)
    rules = {network.name: CropRule(size=network.size, seed=seed) for network in networks}
    for network in networks:
        found = _distances(results, network, rules[network.name], against, draws)
        for result, distances in zip(results, found, strict=True):
            result.distances[network.name] = distances
    classification = _classification(results, classifier, against) if classifier else None
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


def _refuse_repeated_names(kind: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name!r} names more than one {kind}")


class Reader:
    """Read lists of pictures, skip unreadable ones, and collect the reasons in `failures`."""

    def __init__(self) -> None:
        self.failures: dict[Path, str] = {}

    def __call__(self, files: Sequence[Path], least: int = 1) -> Iterator[tuple[Path, Uint8Array]]:
        """Yield each readable file with its picture.

        Raises:
            DataError: at the end, if fewer than `least` were readable; lists the reasons.
        """
        count = 0
        for file in files:
            if file in self.failures:
                continue
            try:
                with failing_alone(str(file)):
                    rgb = read_srgb(file)
            except ToonboxError as error:
                self.failures[file] = str(error)
                continue
            count += 1
            yield file, rgb
        if count < least:
            reasons = [self.failures[file] for file in files if file in self.failures]
            raise DataError(
                "\n".join([f"too few usable pictures: {count} of {len(files)}", *reasons])
            )


def read_srgb(file: Path) -> Uint8Array:
    """Read a picture upright as sRGB, (H, W, 3).

    Raises:
        PictureError: it cannot be read, or a side is shorter than 64 pixels.
    """
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
    subject: Subject,
    photos: Iterable[tuple[Path, Uint8Array]],
    folder: Path,
    advance: Advance,
) -> tuple[Output, ...]:
    """Draw and measure every photo; write the outputs losslessly to a new folder."""
    folder.mkdir(parents=True)
    outputs: list[Output] = []
    for photo, rgb in photos:
        small = shrunk(rgb, subject.resolution)
        cartoon = subject.cartoonize(small)
        file = folder / f"{len(outputs):05}.png"
        with replacing(file) as temporary:
            Image.fromarray(cartoon).save(temporary, compress_level=1)
        outputs.append(Output(photo, file, measure(small, cartoon)))
        advance()
    return tuple(outputs)


@dataclass(frozen=True)
class _Against:
    """The pictures that outputs are compared with, and how they are read."""

    cartoons: Sequence[Path]
    train_photos: Sequence[Path]
    read: Reader
    progress: Progress
    seed: int

    def pictures(self, files: Sequence[Path], least: int = 1) -> Iterator[Uint8Array]:
        """Yield the readable pictures."""
        return (rgb for _, rgb in self.read(files, least))


def _distances(
    results: Sequence[Result],
    network: FeatureNetwork,
    rule: CropRule,
    against: _Against,
    draws: int,
) -> list[Distances]:
    """Compare the features of each result with those of cartoons and photos."""

    def describe(what: str, files: Sequence[Path]) -> FloatArray:
        with against.progress(f"{network.name}: {what}", len(files)) as advance:
            pictures = against.pictures(files, LEAST_PICTURES)
            return features_of(pictures, network, rule, advance=advance)

    drawn = describe("cartoons", against.cartoons)
    features = [describe(r.name, [output.file for output in r.outputs]) for r in results]
    photos = features[0]
    # Each probe with the indices of the photos it judges, which it was not trained on.
    if against.train_photos:
        trained = describe("training photos", against.train_photos)
        probes = [(linear_probe(trained, drawn, rule.seed), np.arange(len(photos)))]
    else:
        halves = np.array_split(np.random.default_rng(rule.seed).permutation(len(photos)), 2)
        probes = [
            (linear_probe(photos[learned], drawn, rule.seed), judged)
            for learned, judged in (halves, reversed(halves))
        ]
    distances = []
    with against.progress(f"{network.name}: intervals", draws * len(results)) as advance:
        for each in features:
            called = sum(probe(each[judged]) * len(judged) for probe, judged in probes)
            distances.append(
                Distances(
                    to_cartoons=bootstrap(frechet_distance, each, drawn, draws, rule.seed, advance),
                    to_photos=frechet_distance(crops_of(each), crops_of(photos)),
                    kernel=kernel_estimate(each, drawn, seed=rule.seed),
                    called_cartoon=float(called / len(each)),
                )
            )
    return distances


def _classification(
    results: Sequence[Result], config: ClassifierConfig, against: _Against
) -> Classification:
    """Train a classifier and test it on other pictures."""
    order, mixed = (
        np.random.default_rng(against.seed).permutation(len(files))
        for files in (results[0].outputs, against.cartoons)
    )
    half, quarter = len(order) // 2, max(1, len(mixed) // 4)
    judged = order if against.train_photos else order[:half]
    learned = against.train_photos or [results[0].outputs[i].file for i in order[half:]]
    held_out, drawn = ([against.cartoons[i] for i in p] for p in (mixed[:quarter], mixed[quarter:]))
    baseline, *styled = (
        against.pictures([result.outputs[i].file for i in judged]) for result in results
    )
    names = [result.name for result in results[1:]]
    with against.progress("classifier: training", config.steps) as advance:
        pictures = against.pictures(learned), against.pictures(drawn)
        network = train_classifier(*pictures, config, advance)
    with against.progress("classifier: test", len(judged) * len(results) + quarter) as advance:
        outputs = dict(zip(names, styled, strict=True))
        cartoons = against.pictures(held_out)
        return classify(network, baseline, cartoons, outputs, config.rule, advance)
