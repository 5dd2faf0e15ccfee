"""Distances between sets of features with confidence intervals, and a linear probe."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.image.kid import poly_mmd

from toonbox.pixels import FloatArray

NORMAL_95 = 1.96  # standard errors on each side of a 95 % interval
PROBE_DECAY = 0.01

Statistic = Callable[[FloatArray, FloatArray], float]
Probe = Callable[[FloatArray], float]


@dataclass(frozen=True)
class Estimate:
    """A statistic and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def frechet_distance(one: FloatArray, other: FloatArray) -> float:
    """Return the Frechet distance of Gaussians fitted to features, (N, D) and (M, D), N, M >= 2.

    |mean difference|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017, eq. 6), biased upwards
    for few samples: compare only values for equal counts.
    """
    # With S1 = R' R, R S2 R' has the eigenvalues of S1 S2 and is symmetric: several times faster
    # than in torchmetrics, as the bootstrap needs.
    fewer, more = sorted((torch.from_numpy(s).double() for s in (one, other)), key=len)
    rows = (fewer - fewer.mean(dim=0)) / (len(fewer) - 1) ** 0.5
    root: Tensor = torch.linalg.qr(rows, mode="r").R
    covariance = torch.cov(more.T)
    shared = torch.linalg.eigvalsh(root @ covariance @ root.T).clamp(min=0).sqrt().sum()
    means = (fewer.mean(dim=0) - more.mean(dim=0)).square().sum()
    return float(means + rows.square().sum() + covariance.trace() - 2 * shared)


def kernel_distance(
    one: FloatArray, other: FloatArray, subsets: int = 10, subset_size: int = 1000, seed: int = 0
) -> float:
    """Return the kernel distance (KID, not times 1000) of two sets, (N, D) and (M, D).

    It is unbiased, so possibly negative: the mean over subsets of at most `subset_size` crops, if
    there are more (Binkowski et al. 2018: degree 3, gamma 1 / D, coefficient 1).
    """
    random = np.random.default_rng(seed)
    size = min(subset_size, len(one), len(other))
    values = []
    for _ in range(1 if size == len(one) == len(other) else subsets):
        chosen = [s[random.permutation(len(s))[:size]] for s in (one, other)]
        a, b = (torch.from_numpy(s).double() for s in chosen)
        values.append(poly_mmd(a, b))
    return float(torch.stack(values).mean())


def bootstrap(
    statistic: Statistic, one: FloatArray, other: FloatArray, draws: int = 20, seed: int = 0
) -> Estimate:
    """Estimate a statistic of crops, of sets (P, K, D) and (Q, L, D), by the bootstrap.

    Pictures are resampled, not crops, since crops of one picture are correlated. The interval is
    1.96 standard errors to each side: percentiles would be shifted, since repeated pictures make
    the sets look further apart. With 20 `draws` the margin is accurate to about a sixth.
    """
    random = np.random.default_rng(seed)
    resampled = []
    for _ in range(draws):
        samples = (s[random.integers(0, len(s), len(s))] for s in (one, other))
        resampled.append(statistic(*map(crops_of, samples)))
    value, margin = statistic(crops_of(one), crops_of(other)), NORMAL_95 * np.std(resampled, ddof=1)
    return Estimate(value, float(value - margin), float(value + margin))


def linear_probe(photos: FloatArray, cartoons: FloatArray, seed: int = 0) -> Probe:
    """Train a logistic regression with weight decay to detect cartoons; sets as in `bootstrap`.

    It must not judge outputs of the photos it was trained on, which it would recognise by their
    content. Crops of the larger set are dropped at random to balance the classes. Return a function
    that returns the share of crops, (N, K, D), classified as cartoon.
    """
    random = np.random.default_rng(seed)
    sets = [crops_of(photos), crops_of(cartoons)]
    fewer = min(map(len, sets))
    chosen = np.concatenate([s[random.permutation(len(s))[:fewer]] for s in sets])
    mean, deviation = chosen.mean(axis=0), chosen.std(axis=0)
    deviation[deviation == 0] = 1
    features = torch.from_numpy((chosen - mean) / deviation)
    labels = (torch.arange(2 * fewer) >= fewer).float()
    weight = torch.zeros(features.shape[1], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = features @ weight + bias
        error = functional.binary_cross_entropy_with_logits(scores, labels)
        total = error + PROBE_DECAY / 2 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    direction, threshold = weight.detach().numpy(), -bias.item()
    return lambda outputs: float(
        np.mean(((crops_of(outputs) - mean) / deviation) @ direction > threshold)
    )


def crops_of(features: FloatArray) -> FloatArray:
    """(P, K, D) -> (P * K, D)."""
    return features.reshape(-1, features.shape[-1])
