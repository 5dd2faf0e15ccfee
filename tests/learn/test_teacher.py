"""What a teacher draws for its student."""

import torch

from toonbox.learn.config import PretrainConfig
from toonbox.learn.teacher import detail, supersampled, taught


def test_a_teacher_draws_enlarged_photos() -> None:
    waves = torch.linspace(0, 12, 32).sin() * 0.8
    photo = (waves[:, None] * waves).expand(2, 3, 32, 32)
    seen = []

    def draw(large: torch.Tensor) -> torch.Tensor:
        seen.append(large.shape)
        return -large

    assert torch.equal(supersampled(photo, draw, 1), -photo)
    assert (supersampled(photo, draw, 2) + photo).abs().mean() < 0.01
    assert seen == [(2, 3, 32, 32), (2, 3, 64, 64)]


def half_textured() -> torch.Tensor:
    """Return (1, 3, 96, 192): flat with one edge, then a checkerboard."""
    photo = torch.zeros(1, 3, 96, 192)
    photo[..., 48:, :96] = 0.5
    rows, columns = torch.arange(96)[:, None] // 4, torch.arange(96) // 4
    photo[..., 96:] = ((rows + columns) % 2).float() - 0.5
    return photo


def test_detail_is_where_edges_are_dense() -> None:
    dense = detail(half_textured())
    assert dense.shape == (1, 1, 96, 192)
    assert dense[..., :70].max() == 0  # an edge alone is none
    assert dense[..., 120:].min() == 1
    between = dense[0, 0, 10, 70:120]
    assert (between.diff() >= 0).all()


def test_grain_is_no_detail() -> None:
    grain = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 / 127.5
    assert detail(grain).max() == 0


def test_strokes_may_be_fine_where_detail_is() -> None:
    def draw(photo: torch.Tensor) -> torch.Tensor:
        return torch.full_like(photo, photo.shape[2] / 1000)

    photo = half_textured()
    fine = taught(photo, draw, PretrainConfig(supersampling=2))
    both = taught(photo, draw, PretrainConfig(supersampling=2, bold_where_sparse=True))
    assert torch.allclose(fine, torch.tensor(0.192))
    assert torch.allclose(both[..., :70], torch.tensor(0.096))
    assert torch.allclose(both[..., 120:], torch.tensor(0.192))
