import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from toonbox.errors import WeightsError
from toonbox.learn import features as vgg
from toonbox.learn.features import VggFeatures, VggKind
from toonbox.learn.weights import WeightFile

# Layer names and torchvision places, written out by hand from the two papers' tables.
PLACES = {
    "vgg16": {
        "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7,
        "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv4_1": 17, "conv4_2": 19, "conv4_3": 21,
    },
    "vgg19": {
        "conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7,
        "conv3_1": 10, "conv3_2": 12, "conv3_3": 14, "conv3_4": 16,
        "conv4_1": 19, "conv4_2": 21, "conv4_3": 23, "conv4_4": 25,
    },
}  # fmt: skip
WIDTH = {"1": 64, "2": 128, "3": 256, "4": 512}


def caffe_weights(kind: VggKind) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(3)
    weights, before = {}, 3
    for name in PLACES[kind]:
        width = WIDTH[name[4]]
        spread = (2 / (9 * before)) ** 0.5
        weights[f"{name}.weight"] = torch.randn(width, before, 3, 3, generator=g) * spread
        weights[f"{name}.bias"] = torch.randn(width, generator=g) * 0.1
        before = width
    return weights


def reference_features(weights: dict[str, torch.Tensor], photo: torch.Tensor) -> torch.Tensor:
    """Caffe's own recipe, step by step: 0-255, BGR, minus the mean colour."""
    x = (photo * 127.5 + 127.5)[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68]).view(
        3, 1, 1
    )
    names = [key.removesuffix(".weight") for key in weights if key.endswith(".weight")]
    for i, name in enumerate(names):
        if name.endswith("_1") and name != "conv1_1":
            x = functional.max_pool2d(x, 2)
        x = functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        x = x if i == len(names) - 1 else functional.relu(x)
    return x


def a_photo(height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_caffe_file_matches_caffe_recipe(kind: VggKind, tmp_path: Path) -> None:
    weights = caffe_weights(kind)
    save_file(weights, tmp_path / "w.safetensors")
    features = VggFeatures.load(kind, tmp_path / "w.safetensors")(a_photo())
    expected = reference_features(weights, a_photo())
    assert features.shape == (2, 512, 2, 3)
    assert (features < 0).any()  # before the ReLU
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_conventions_agree_inside_the_border(kind: VggKind, tmp_path: Path) -> None:
    """The same function written as Caffe's and as torchvision's file, up to conv1_1's border.

    std * 255 scales the weights; the two mean colours differ, which moves into the bias. Zero
    padding stands for the mean colour, so conv1_1's outermost pixels would differ: zero weights
    everywhere in conv1_1 but the kernel's centre make the agreement exact.
    """
    caffe = caffe_weights(kind)
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    caffe["conv1_1.weight"] *= centre
    mean = torch.tensor([0.485, 0.456, 0.406]) * 255
    std = torch.tensor([0.229, 0.224, 0.225]) * 255
    first = caffe["conv1_1.weight"].flip(1)
    other = {
        f"features.{PLACES[kind][k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in caffe.items()
    }
    other["features.0.weight"] = first * std.view(1, 3, 1, 1)
    gap = mean - torch.tensor([123.68, 116.779, 103.939])
    other["features.0.bias"] = caffe["conv1_1.bias"] + first[:, :, 1, 1] @ gap
    other["classifier.0.bias"] = torch.zeros(4)  # the rest of such a file is left alone
    save_file(caffe, tmp_path / "caffe.safetensors")
    torch.save(other, tmp_path / "torchvision.pth")
    a = VggFeatures.load(kind, tmp_path / "caffe.safetensors")(a_photo())
    b = VggFeatures.load(kind, tmp_path / "torchvision.pth")(a_photo())
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_torchvision_normalisation_by_hand(tmp_path: Path) -> None:
    caffe = caffe_weights("vgg16")
    state = {
        f"features.{PLACES['vgg16'][k.split('.')[0]]}.{k.split('.')[1]}": v
        for k, v in caffe.items()
    }
    torch.save(state, tmp_path / "w.pth")
    network = VggFeatures.load("vgg16", tmp_path / "w.pth")
    photo = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    seen = (photo * network.scale + network.shift).flatten()
    np.testing.assert_allclose(seen, [-2.117904, 0.196429, 2.64], atol=1e-5)


def test_half_precision_file_is_computed_in_single(tmp_path: Path) -> None:
    weights = {k: v.half() for k, v in caffe_weights("vgg16").items()}
    save_file(weights, tmp_path / "w.safetensors")
    network = VggFeatures.load("vgg16", tmp_path / "w.safetensors")
    expected = reference_features({k: v.float() for k, v in weights.items()}, a_photo())
    torch.testing.assert_close(network(a_photo()), expected, rtol=1e-4, atol=1e-3)
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_frozen_but_gradient_reaches_the_picture() -> None:
    network = VggFeatures("vgg16")
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    photo = a_photo().requires_grad_()
    network(photo).square().mean().backward()
    assert photo.grad is not None
    assert photo.grad.abs().sum() > 0


def test_bfloat16_and_channels_last_stay_close(tmp_path: Path) -> None:
    save_file(caffe_weights("vgg16"), tmp_path / "w.safetensors")
    network = VggFeatures.load("vgg16", tmp_path / "w.safetensors")
    full = network(a_photo())
    network = network.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        half = network(a_photo().to(memory_format=torch.channels_last))
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.03 * full.abs().mean()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth: no such"):
        VggFeatures.load("vgg16", tmp_path / "absent.pth")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02}q\x00."[:3]])
def test_damaged_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        VggFeatures.load("vgg16", tmp_path / name)


def test_truncated_files_are_named(tmp_path: Path) -> None:
    save_file({"conv1_1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.safetensors")
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.pth")
    for name in ("w.safetensors", "w.pth"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match=name):
            VggFeatures.load("vgg16", tmp_path / name)


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("ran",)

    (tmp_path / "w.pth").write_bytes(pickle.dumps({"features.0.weight": Payload()}, protocol=2))
    with pytest.raises(WeightsError, match=r"w\.pth"):
        VggFeatures.load("vgg16", tmp_path / "w.pth")


def test_not_a_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="not a state dict"):
        VggFeatures.load("vgg16", tmp_path / "w.pth")


def test_the_other_network_is_refused(tmp_path: Path) -> None:
    save_file(caffe_weights("vgg16"), tmp_path / "16.safetensors")
    save_file(caffe_weights("vgg19"), tmp_path / "19.safetensors")
    with pytest.raises(WeightsError, match=r"not the weights of vgg19(.|\n)*Missing key"):
        VggFeatures.load("vgg19", tmp_path / "16.safetensors")
    with pytest.raises(WeightsError, match=r"not the weights of vgg16(.|\n)*Unexpected.*conv3_4"):
        VggFeatures.load("vgg16", tmp_path / "19.safetensors")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (torch.zeros(64, 3, 5, 5), r"size mismatch for features\.0\.weight"),
        (torch.zeros(64), r"size mismatch for features\.0\.weight"),
        (torch.full((64, 3, 3, 3), torch.nan), "not finite"),
    ],
)
def test_wrong_tensor_is_named(bad: torch.Tensor, reason: str, tmp_path: Path) -> None:
    save_file(caffe_weights("vgg16") | {"conv1_1.weight": bad}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=rf"w\.safetensors: (.|\n)*{reason}"):
        VggFeatures.load("vgg16", tmp_path / "w.safetensors")


@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_without_a_file_the_public_one_is_fetched(
    kind: VggKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(caffe_weights(kind), tmp_path / "w.safetensors")
    asked = []

    def fetch(weights: WeightFile, *, offline: bool) -> Path:
        asked.append((weights, offline))
        return tmp_path / "w.safetensors"

    monkeypatch.setattr(vgg, "fetch", fetch)
    network = VggFeatures.load(kind, offline=True)
    assert network.kind == kind
    ((weights, offline),) = asked
    assert offline
    assert len(weights.sha256) == 64
    # torchvision's file names end with the first eight digits of the file's sha256.
    assert weights.url == f"https://download.pytorch.org/models/{kind}-{weights.sha256[:8]}.pth"
