from functools import partial

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from toonbox.learn.evaluate.distances import (
    bootstrap,
    frechet_distance,
    kernel_distance,
    linear_probe,
)
from toonbox.pixels import FloatArray


def normal(*shape: int, seed: int = 0, mean: float = 0.0, spread: float = 1.0) -> FloatArray:
    drawn = np.random.default_rng(seed).normal(mean, spread, shape)
    return drawn.astype(np.float32)


def with_moments(samples: FloatArray, mean: FloatArray, root: FloatArray) -> FloatArray:
    """Bring samples to exactly this mean and the covariance root root'."""
    centred = samples - samples.mean(axis=0)
    whitened = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred.T))).T
    return (whitened @ root.T + mean).astype(np.float32)


class PassThrough(torch.nn.Module):
    num_features = 12

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_frechet_distance_of_commuting_covariances_is_the_closed_form() -> None:
    one = with_moments(normal(50, 3), np.zeros(3), np.diag([1.0, 2.0, 3.0]))
    other = with_moments(normal(80, 3, seed=1), np.array([1.0, 0, 2]), np.diag([2.0, 2.0, 0.5]))
    # |m1 - m2|^2 + sum of (s1 - s2)^2, s the standard deviations along common axes
    assert frechet_distance(one, other) == pytest.approx(5 + 1 + 0 + 6.25, rel=1e-4)
    assert frechet_distance(other, one) == pytest.approx(12.25, rel=1e-4)


@pytest.mark.parametrize(("few", "many"), [(40, 60), (8, 60), (60, 5)])
def test_frechet_distance_is_that_of_torchmetrics(few: int, many: int) -> None:
    mix = normal(12, 12, seed=5)
    one, other = normal(few, 12) @ mix, normal(many, 12, seed=1, mean=0.5) @ mix.T
    metric = FrechetInceptionDistance(PassThrough())
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(one).double(), real=True)
    metric.update(torch.from_numpy(other).double(), real=False)
    assert frechet_distance(one, other) == pytest.approx(float(metric.compute()), rel=1e-4)


def test_frechet_distance_of_a_set_to_itself_is_nothing() -> None:
    features = normal(30, 12)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-5)


def test_kernel_distance_of_one_distribution_varies_about_nothing() -> None:
    values = [
        kernel_distance(normal(60, 8, seed=2 * i), normal(90, 8, seed=2 * i + 1), subsets=5)
        for i in range(40)
    ]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / 40**0.5


def test_kernel_distance_of_small_sets_is_the_unbiased_estimate_over_all() -> None:
    one, other = normal(4, 3), normal(4, 3, seed=1, mean=1)

    def kernel(x: FloatArray, y: FloatArray) -> float:
        return float((x @ y / 3 + 1) ** 3)

    def within(s: FloatArray) -> float:
        return sum(kernel(s[i], s[j]) for i in range(4) for j in range(4) if i != j) / 12

    across = sum(kernel(x, y) for x in one for y in other) / 16
    expected = within(one) + within(other) - 2 * across
    assert kernel_distance(one, other, subsets=3) == pytest.approx(expected, rel=1e-5)


def test_kernel_distance_is_of_seeded_subsets() -> None:
    one, other = normal(50, 4), normal(50, 4, seed=1)
    distance = partial(kernel_distance, one, other, subsets=2, subset_size=10)
    assert distance(seed=1) == distance(seed=1) != distance(seed=2)


def test_large_features_keep_their_digits() -> None:
    one, other = (normal(60, 8, seed=seed) + np.float32(50) for seed in (0, 1))
    exact = kernel_distance(one.astype(np.float64), other.astype(np.float64))
    assert kernel_distance(one, other) == pytest.approx(exact, rel=1e-9)


def test_bootstrap_draws_whole_pictures() -> None:
    one = np.repeat(np.arange(6, dtype=np.float32), 4).reshape(6, 4, 1)
    seen: list[FloatArray] = []

    def statistic(a: FloatArray, b: FloatArray) -> float:
        seen.append(a)
        return float(a.mean() - b.mean())

    bootstrap(statistic, one, one, draws=5)
    assert len(seen) == 6
    for drawn in seen:
        _, counts = np.unique(drawn, return_counts=True)
        assert drawn.shape == (24, 1)
        assert (counts % 4 == 0).all()


def test_bootstrap_covers_the_true_value_as_often_as_it_says() -> None:
    """The difference of two means, whose error is known; crops repeat their picture."""

    def difference(a: FloatArray, b: FloatArray) -> float:
        return float(b.mean() - a.mean())

    covered = []
    for i in range(200):
        one, other = normal(30, 1, 1, seed=2 * i), normal(30, 1, 1, seed=2 * i + 1, mean=0.7)
        found = bootstrap(difference, one.repeat(5, 1), other.repeat(5, 1), draws=40, seed=i)
        assert found.value == pytest.approx((found.low + found.high) / 2)
        covered.append(found.low <= 0.7 <= found.high)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_kernel_distances_are_resampled_too() -> None:
    one, other = normal(20, 3, 6), normal(20, 3, 6, seed=2, mean=0.4)
    found = bootstrap(kernel_distance, one, other)
    assert found.value == pytest.approx(kernel_distance(one.reshape(-1, 6), other.reshape(-1, 6)))
    assert 0 < found.low < found.value < found.high


def test_probe_separates_what_can_be_separated() -> None:
    shift = np.array([3, 0, 0, -3, 0], np.float32)
    learn = normal(40, 4, 5), normal(60, 4, 5, seed=1) + shift
    new = normal(40, 4, 5, seed=2), normal(40, 4, 5, seed=3) + shift
    probe = linear_probe(*learn)
    assert probe(new[0]) < 0.03
    assert probe(new[1]) > 0.97
    assert linear_probe(*learn)(new[0]) == probe(new[0])


def test_probe_guesses_where_there_is_no_difference() -> None:
    probe = linear_probe(normal(150, 4, 5), normal(400, 4, 5, seed=1))
    photos, cartoons = normal(200, 4, 5, seed=2), normal(200, 4, 5, seed=3)
    assert probe(cartoons) == pytest.approx(probe(photos), abs=0.1)
    # balanced, though there are more cartoons than photos to learn from
    assert probe(normal(200, 4, 5, seed=4)) == pytest.approx(0.5, abs=0.15)


def test_probe_handles_constant_features() -> None:
    photos, cartoons = normal(10, 2, 3), normal(10, 2, 3, seed=1, mean=8)
    photos[..., 2] = cartoons[..., 2] = 1
    probe = linear_probe(photos, cartoons)
    assert probe(cartoons) == 1
