import numpy as np
import pytest
import torch

from toonbox.errors import ShapeError
from toonbox.learn.import_tfjs import AuthorsGenerator, HalvingConvolution, upsample_tensorflow


@pytest.fixture(scope="module")
def generator() -> AuthorsGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return AuthorsGenerator().eval()


def a_photo(height: int, width: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(height * width)
    return torch.rand(1, 3, height, width, generator=g) * 2 - 1


def test_number_of_parameters(generator: AuthorsGenerator) -> None:
    assert sum(p.numel() for p in generator.parameters()) == 1_467_075


def test_upsampling_by_hand() -> None:
    image = torch.tensor([[1.0, 2.0, 4.0], [5.0, 6.0, 0.0]]).view(1, 1, 2, 3)
    expected = [
        [1.0, 1.5, 2.0, 3.0, 4.0, 4.0],
        [3.0, 3.5, 4.0, 3.0, 2.0, 2.0],
        [5.0, 5.5, 6.0, 3.0, 0.0, 0.0],
        [5.0, 5.5, 6.0, 3.0, 0.0, 0.0],
    ]
    np.testing.assert_allclose(upsample_tensorflow(image)[0, 0], expected, atol=1e-6)


def test_halving_pads_right_and_bottom_only() -> None:
    halve = HalvingConvolution(1)
    with torch.no_grad():
        halve.weight.copy_(torch.arange(9.0).view(1, 1, 3, 3))
        halve.bias.zero_()
        image = torch.arange(1.0, 17.0).view(1, 1, 4, 4)
        found = halve(image)[0, 0]
    padded = np.zeros((5, 5))
    padded[:4, :4] = image[0, 0]
    kernel = np.arange(9.0).reshape(3, 3)
    expected = [[(padded[y : y + 3, x : x + 3] * kernel).sum() for x in (0, 2)] for y in (0, 2)]
    np.testing.assert_allclose(found, expected)


def test_output_is_unbounded_and_of_the_photos_size(generator: AuthorsGenerator) -> None:
    with torch.no_grad():
        found = generator(a_photo(12, 20) * 1000)
    assert found.shape == (1, 3, 12, 20)
    assert found.abs().max() > 1


@pytest.mark.parametrize("shape", [(1, 3, 12, 18), (1, 3, 9, 16), (1, 4, 12, 16), (3, 12, 16)])
def test_wrong_shape_is_named(shape: tuple[int, ...], generator: AuthorsGenerator) -> None:
    with pytest.raises(ShapeError, match="multiples of 4, got"):
        generator(torch.zeros(shape))
