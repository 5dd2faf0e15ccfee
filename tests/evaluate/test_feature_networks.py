from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from torch import nn

from toonbox.errors import UsageError, WeightsError
from toonbox.learn.evaluate.feature_networks import (
    CropRule,
    FeatureNetwork,
    features_of,
    load_feature_network,
    take_crops,
)
from toonbox.pixels import FloatArray, Uint8Array

RULE = CropRule(short_side=64, size=16, crops=5, seed=1)


def noise(height: int, width: int, seed: int = 0) -> Uint8Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gradient(height: int, width: int) -> Uint8Array:
    """Red tells the row, green the column, in shares of the picture's sides."""
    rows, columns = np.meshgrid(
        np.linspace(0, 255, height), np.linspace(0, 255, width), indexing="ij"
    )
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


def mean_colours(crops: Uint8Array) -> FloatArray:
    """Describe crops by their mean colour in [0, 1]."""
    return crops.astype(np.float32).mean(axis=(1, 2)) / 255


MEANS = FeatureNetwork("means", 16, lambda unit: unit.mean(axis=(2, 3)))


def onnx_file(file: Path, shape: list, operator: str = "Identity", **attributes: object) -> Path:
    ends = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, None),
    ]
    node = helper.make_node(operator, ["images"], ["features"], **attributes)
    graph = helper.make_graph([node], "tiny", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, file)
    return file


def test_the_rule_says_itself() -> None:
    assert CropRule().text() == (
        "short side resized to 512 pixels (LANCZOS, enlarged if smaller), "
        "8 seeded crops of 224 pixels per picture"
    )


@pytest.mark.parametrize("wrong", [{"size": 65}, {"size": 0}, {"crops": 0}])
def test_impossible_rules_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="short side of 64"):
        CropRule(short_side=64, **wrong)


def test_crops_of_a_picture_at_the_right_size_are_cut_out_of_it() -> None:
    rgb = noise(64, 90)
    crops = take_crops(rgb, RULE, 3)
    windows = np.lib.stride_tricks.sliding_window_view(rgb, (16, 16, 3))[:, :, 0]
    assert crops.shape == (5, 16, 16, 3)
    places = [np.argwhere((windows == crop).all(axis=(2, 3, 4))) for crop in crops]
    assert all(len(place) == 1 for place in places)
    assert len({tuple(place[0]) for place in places}) == 5


def test_crops_depend_on_seed_and_index_alone() -> None:
    rgb = noise(70, 90)
    crops = take_crops(rgb, RULE, 3)
    assert np.array_equal(crops, take_crops(rgb.copy(), RULE, 3))
    assert not np.array_equal(crops, take_crops(rgb, RULE, 4))
    assert not np.array_equal(crops, take_crops(rgb, CropRule(64, 16, 5, seed=2), 3))


def test_photo_and_enlarged_output_are_cut_at_the_same_places() -> None:
    small, large = (take_crops(gradient(48 * k, 72 * k), RULE, 0) for k in (1, 4))
    assert np.abs(mean_colours(small) - mean_colours(large)).max() < 0.02
    assert np.ptp(mean_colours(large)[:, :2], axis=0).min() > 0.1


def test_blank_crops_are_drawn_again_without_moving_the_others() -> None:
    rgb = noise(64, 256)
    half = rgb.copy()
    half[:, :128] = 255
    whole, drawn_again = take_crops(rgb, RULE, 0), take_crops(half, RULE, 0)
    assert all(np.ptp(crop) > 0 for crop in drawn_again)
    kept = [np.array_equal(a, b) for a, b in zip(whole, drawn_again, strict=True)]
    assert 0 < sum(kept) < 5
    assert (take_crops(np.full_like(rgb, 9), RULE, 0) == 9).all()


def test_features_keep_pictures_and_crops_apart() -> None:
    pictures = [noise(64, 80, seed) // (seed + 1) for seed in range(4)]
    found = features_of(pictures, MEANS, RULE)
    assert found.shape == (4, 5, 3)
    for index, rgb in enumerate(pictures):
        expected = mean_colours(take_crops(rgb, RULE, index))
        np.testing.assert_allclose(found[index], expected, rtol=1e-5)


def test_onnx_maps_are_averaged_and_its_side_is_known(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "tiny.onnx", ["n", 3, 16, 16])
    network = load_feature_network(file)
    assert (network.name, network.size) == ("tiny", 16)
    crops = np.stack([noise(16, 16, seed) for seed in range(3)])
    np.testing.assert_allclose(network(crops), mean_colours(crops), rtol=1e-5)


def test_onnx_vectors_are_taken_as_they_are(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "flat.onnx", ["n", 3, "h", "w"], "Flatten")
    network = load_feature_network(file)
    assert network.size == 224
    assert network(np.zeros((2, 224, 224, 3), np.uint8)).shape == (2, 3 * 224 * 224)


@pytest.mark.parametrize(
    ("shape", "operator", "attributes", "reason"),
    [
        (["n", 1, 16, 16], "Identity", {}, r"expected one float input \(N, 3, S, S\)"),
        ([1, 3, 16, 16], "Identity", {}, r"fails on crops \(2, 3, 16, 16\)"),
        (["n", 3, 16, 16], "Flatten", {"axis": 0}, r"should be \(2, D\) or \(2, D, h, w\)"),
    ],
)
def test_onnx_of_another_form_is_refused(
    tmp_path: Path, shape: list, operator: str, attributes: dict, reason: str
) -> None:
    file = onnx_file(tmp_path / "odd.onnx", shape, operator, **attributes)
    with pytest.raises(WeightsError, match=rf"odd\.onnx: .*{reason}"):
        load_feature_network(file)


class Pooled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, 112)


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Picky(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(11, -1)


def test_torchscript_maps_are_averaged(tmp_path: Path) -> None:
    torch.jit.script(Pooled()).save(str(tmp_path / "pooled.ts"))
    network = load_feature_network(tmp_path / "pooled.ts")
    crops = np.stack([noise(224, 224, seed) for seed in range(2)])
    np.testing.assert_allclose(network(crops), mean_colours(crops), rtol=1e-4)


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Pair(), "should return a tensor, not tuple"), (Picky(), "fails on crops .* shape '")],
)
def test_torchscript_of_another_form_is_refused(
    tmp_path: Path, module: nn.Module, reason: str
) -> None:
    torch.jit.script(module).save(str(tmp_path / "odd.pt"))
    with pytest.raises(WeightsError, match=rf"odd\.pt: {reason}"):
        load_feature_network(tmp_path / "odd.pt")


@pytest.mark.parametrize("name", ["n.onnx", "n.pt", "n.txt"])
def test_what_is_no_network_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=f"{name}: no such feature network"):
        load_feature_network(tmp_path / name)
    (tmp_path / name).write_bytes(b"nothing of the kind, only words")
    with pytest.raises(WeightsError, match=f"{name}: "):
        load_feature_network(tmp_path / name)


def test_pictures_of_other_shapes_are_enlarged(tmp_path: Path) -> None:
    tiny = np.asarray(Image.new("RGB", (7, 300), (10, 20, 30)))
    assert take_crops(tiny, RULE, 0).shape == (5, 16, 16, 3)
