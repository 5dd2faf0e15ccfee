"""What a teacher draws for its student."""

import torch

from toonbox.learn.teacher import supersampled


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
