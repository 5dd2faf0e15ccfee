from pathlib import Path

import pytest
import torch
from torch.nn import functional

from toonbox.errors import ShapeError, WeightsError
from toonbox.learn.evaluate import distances as inception
from toonbox.learn.evaluate.distances import Convolution, InceptionFeatures, Mixed, Step
from toonbox.learn.weights import WEIGHTS

# The convolutions of each block as torchvision calls them, written out from its parameter names.
BLOCK_A = ["branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2",
           "branch3x3dbl_3", "branch_pool"]  # fmt: skip
BLOCK_B = ["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]
BLOCK_C = ["branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3", "branch7x7dbl_1",
           "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5",
           "branch_pool"]  # fmt: skip
BLOCK_D = ["branch3x3_1", "branch3x3_2", "branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3",
           "branch7x7x3_4"]  # fmt: skip
BLOCK_E = ["branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1",
           "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"]  # fmt: skip
BLOCKS = {
    "5b": BLOCK_A, "5c": BLOCK_A, "5d": BLOCK_A, "6a": BLOCK_B,
    "6b": BLOCK_C, "6c": BLOCK_C, "6d": BLOCK_C, "6e": BLOCK_C,
    "7a": BLOCK_D, "7b": BLOCK_E, "7c": BLOCK_E,
}  # fmt: skip
STEM = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
SHAPES = {
    "Conv2d_1a_3x3": (32, 149, 149), "Conv2d_2a_3x3": (32, 147, 147),
    "Conv2d_2b_3x3": (64, 147, 147), "pool_2": (64, 73, 73), "Conv2d_3b_1x1": (80, 73, 73),
    "Conv2d_4a_3x3": (192, 71, 71), "pool_4": (192, 35, 35), "Mixed_5b": (256, 35, 35),
    "Mixed_5c": (288, 35, 35), "Mixed_5d": (288, 35, 35), "Mixed_6a": (768, 17, 17),
    "Mixed_6b": (768, 17, 17), "Mixed_6c": (768, 17, 17), "Mixed_6d": (768, 17, 17),
    "Mixed_6e": (768, 17, 17), "Mixed_7a": (1280, 8, 8), "Mixed_7b": (2048, 8, 8),
    "Mixed_7c": (2048, 8, 8),
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> InceptionFeatures:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return InceptionFeatures()


@pytest.fixture(scope="module")
def published(network: InceptionFeatures) -> dict[str, torch.Tensor]:
    """What the public file holds: random weights, the classifier, no counters."""
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def test_layers_have_the_names_of_the_public_weights(network: InceptionFeatures) -> None:
    blocks = {f"Mixed_{block}.{name}" for block, names in BLOCKS.items() for name in names}
    parts = ("conv.weight", "bn.weight", "bn.bias")
    expected = {f"{name}.{part}" for name in blocks | set(STEM) for part in parts}
    assert {name for name, _ in network.named_parameters()} == expected


def test_weights_are_as_many_as_in_torchvision(network: InceptionFeatures) -> None:
    # inception_v3(aux_logits=False): 23,834,568, of which its classifier has 2049 * 1000
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 - 2_049_000
    assert not any(p.requires_grad for p in network.parameters())


def test_layers_have_the_shapes_of_the_published_table(network: InceptionFeatures) -> None:
    found = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(
            lambda _, __, output, name=name: found.update({name: tuple(output.shape[1:])})
        )
    assert network(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)
    assert found == SHAPES


def test_other_sizes_are_brought_to_299(network: InceptionFeatures) -> None:
    small = torch.rand(1, 3, 60, 90, generator=torch.Generator().manual_seed(1)) * 2 - 1
    resized = functional.interpolate(small, (299, 299), mode="bilinear", align_corners=False)
    assert torch.allclose(network(small), network(resized))
    with pytest.raises(ShapeError, match="B, 3, H, W"):
        network(torch.zeros(1, 1, 299, 299))


def passing(block: Mixed) -> Mixed:
    """Let the pooling branch's convolution, batch norm and ReLU pass what is not negative."""
    torch.nn.init.dirac_(block.branch_pool.conv.weight)
    block.branch_pool.bn.eps = 0
    return block.eval()


def test_average_pooling_does_not_count_the_padding() -> None:
    block = passing(Mixed(2, {"branch1x1": [Step(1)]}, "average", 2))
    pooled = block(torch.ones(1, 2, 4, 4))[:, 1:]
    assert torch.allclose(pooled, torch.ones(1, 2, 4, 4))


def test_last_block_pools_by_maximum(network: InceptionFeatures) -> None:
    assert network.Mixed_7b.pool == "average"
    assert network.Mixed_7c.pool == "max"
    block = passing(Mixed(1, {"branch1x1": [Step(1)]}, "max", 1))
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 2] = 1
    expected = functional.pad(torch.ones(1, 1, 3, 3), (1, 1, 1, 1))
    assert torch.allclose(block(point)[:, 1:], expected)


def test_forks_run_on_what_is_before_them_in_the_order_of_the_names() -> None:
    fork = (Step(2, (1, 3)), Step(3, (3, 1)))
    block = Mixed(4, {"branch3x3": [Step(5), fork]}).eval()
    x = torch.rand(1, 4, 9, 9)
    before = block.branch3x3_1(x)
    assert block.branch3x3_2a.conv.kernel_size == (1, 3)
    assert block.branch3x3_2b.conv.kernel_size == (3, 1)
    y = torch.cat([block.branch3x3_2a(before), block.branch3x3_2b(before)], 1)
    assert y.shape == (1, 5, 9, 9)
    reducing = Mixed(4, {"branch3x3": [Step(5, (3, 3), 2)]}).eval()
    assert reducing(x).shape == (1, 9, 4, 4)
    assert torch.equal(reducing(x)[:, 5:], functional.max_pool2d(x, 3, 2))


def test_convolution_normalises_as_tensorflow_does() -> None:
    layer = Convolution(1, 1, (1, 1)).eval()
    torch.nn.init.ones_(layer.conv.weight)
    layer.bn.running_var.fill_(0.003)
    assert layer(torch.ones(1, 1, 1, 1)).item() == pytest.approx(1 / (0.003 + 0.001) ** 0.5)


def test_public_weights_load(
    tmp_path: Path, network: InceptionFeatures, published: dict[str, torch.Tensor]
) -> None:
    torch.save(published, tmp_path / "w.pth")
    loaded = InceptionFeatures.load(tmp_path / "w.pth")
    x = torch.rand(1, 3, 299, 299)
    assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Mixed_7c.branch_pool.conv.weight": None}, r"Mixed_7c\.branch_pool\.conv\.weight is mis"),
        ({"Conv2d_1a_3x3.bn.bias": torch.zeros(3)}, r"Conv2d_1a_3x3\.bn\.bias is \(3,\)"),
        ({"Conv2d_1a_3x3.bn.bias": torch.full((32,), torch.nan)}, "not finite"),
        ({"AuxLogits.conv0.conv.weight": torch.zeros(1)}, r"AuxLogits.* is too much"),
    ],
)
def test_other_weights_are_refused(
    tmp_path: Path,
    published: dict[str, torch.Tensor],
    change: dict[str, torch.Tensor | None],
    reason: str,
) -> None:
    changed = {k: v for k, v in (published | change).items() if v is not None}
    torch.save(changed, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match=rf"odd\.pth: .*{reason}"):
        InceptionFeatures.load(tmp_path / "odd.pth")


def test_download_is_the_one_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: dict[str, torch.Tensor]
) -> None:
    weights = WEIGHTS["inception"]
    assert len(weights.sha256) == 64
    assert weights.url.endswith(
        f"-{weights.sha256[:8]}.pth"
    )  # the name carries the hash's first digits
    torch.save(published, tmp_path / "w.pth")
    asked: list[object] = []

    def fetch(*arguments: object, offline: bool) -> Path:
        asked.extend((*arguments, offline))
        return tmp_path / "w.pth"

    monkeypatch.setattr(inception, "fetch", fetch)
    InceptionFeatures.load(offline=True)
    assert asked == [weights, True]
