"""The published generator written a second time, in NumPy and in TensorFlow's own terms."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from toonbox.engine.style import Card, load_style, read_card
from toonbox.errors import StyleError
from toonbox.learn.import_tfjs import (
    LICENCE,
    AuthorsGenerator,
    AuthorsPipeline,
    HalvingConvolution,
    fill,
    import_tfjs,
    read_tensors,
    upsample_tensorflow,
)

Tensors = dict[str, npt.NDArray[np.float32]]
Array = npt.NDArray[np.float64]

# (kernel, in, out) in the order of the published code; slim counts the unnamed ones.
UNNAMED = [
    (7, 3, 32), (3, 32, 32), (3, 32, 64), (3, 64, 64), (3, 64, 128),
    (3, 128, 64), (3, 64, 64), (3, 64, 32), (3, 32, 32), (7, 32, 3),
]  # fmt: skip
NAMED = [f"block_{block}/conv{conv}" for block in range(4) for conv in (1, 2)]


@cache
def random_tensors() -> Tensors:
    """All 1,467,075 weights, of a size that keeps the output within about [-1, 1]."""
    rng = np.random.default_rng(11)
    shapes = {"Conv" + (f"_{i}" if i else ""): sides for i, sides in enumerate(UNNAMED)}
    shapes |= dict.fromkeys(NAMED, (3, 128, 128))
    tensors: Tensors = {}
    for scope, (kernel, before, after) in shapes.items():
        gain = 0.9 if scope.startswith("block") else 0.6 if after == 3 else 1.4
        spread = gain / np.sqrt(kernel * kernel * before)
        weights = rng.normal(0, spread, (kernel, kernel, before, after))
        tensors[f"generator/{scope}/weights"] = weights.astype(np.float32)
        tensors[f"generator/{scope}/biases"] = rng.normal(0, 0.1, after).astype(np.float32)
    return tensors


def convolve(x: Array, tensors: Tensors, scope: str, stride: int = 1) -> Array:
    """TensorFlow's 'SAME': (H, W, C) -> (ceil(H / stride), ceil(W / stride), C)."""
    weights = tensors[f"generator/{scope}/weights"].astype(np.float64)
    kernel = weights.shape[0]
    sizes = [-(-side // stride) for side in x.shape[:2]]
    total = [max((n - 1) * stride + kernel - s, 0) for n, s in zip(sizes, x.shape, strict=False)]
    x = np.pad(x, [(t // 2, t - t // 2) for t in total] + [(0, 0)])
    out = np.zeros((*sizes, weights.shape[3]))
    for y in range(kernel):
        for z in range(kernel):
            seen = x[y::stride, z::stride][: sizes[0], : sizes[1]]
            out += seen @ weights[y, z]
    return out + tensors[f"generator/{scope}/biases"]


def resize(x: Array) -> Array:
    """TensorFlow 1's resize_bilinear to twice the size: output j looks at j / 2."""

    def one(x: Array) -> Array:
        rows = []
        for j in range(2 * len(x)):
            low = j // 2
            high = min(low + 1, len(x) - 1)
            rows.append(x[low] + (x[high] - x[low]) * (j / 2 - low))
        return np.stack(rows)

    return one(one(x).transpose(1, 0, 2)).transpose(1, 0, 2)


def lrelu(x: Array) -> Array:
    return np.where(x > 0, x, 0.2 * x)


def network(x: Array, t: Tensors) -> Array:
    x0 = lrelu(convolve(x, t, "Conv"))
    x1 = lrelu(convolve(x0, t, "Conv_1", stride=2))
    x1 = lrelu(convolve(x1, t, "Conv_2"))
    x2 = lrelu(convolve(x1, t, "Conv_3", stride=2))
    x2 = lrelu(convolve(x2, t, "Conv_4"))
    for block in range(4):
        inner = lrelu(convolve(x2, t, f"block_{block}/conv1"))
        x2 = convolve(inner, t, f"block_{block}/conv2") + x2
    x2 = lrelu(convolve(x2, t, "Conv_5"))
    x3 = lrelu(convolve(resize(x2) + x1, t, "Conv_6"))
    x3 = lrelu(convolve(x3, t, "Conv_7"))
    x4 = lrelu(convolve(resize(x3) + x0, t, "Conv_8"))
    return convolve(x4, t, "Conv_9")


def window_mean(x: Array) -> Array:
    beyond = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=np.nan)
    return np.nanmean(sliding_window_view(beyond, (3, 3), (0, 1)), axis=(-2, -1))


def guided(guide: Array, image: Array) -> Array:
    mean_guide, mean_image = window_mean(guide), window_mean(image)
    covariance = window_mean(guide * image) - mean_guide * mean_image
    slope = covariance / (window_mean(guide * guide) - mean_guide**2 + 5e-3)
    return window_mean(slope) * guide + window_mean(mean_image - slope * mean_guide)


def published(rgb: npt.NDArray[np.uint8], tensors: Tensors) -> Array:
    """From a uint8 RGB picture to the signed RGB result, through BGR as published."""
    bgr = rgb[..., ::-1] / 127.5 - 1
    return np.clip(guided(bgr, network(bgr, tensors)), -1, 1)[..., ::-1]


def a_picture(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Flat blocks of colour with a little noise, so that the filter has edges to keep."""
    rng = np.random.default_rng(height)
    blocks = rng.integers(20, 236, (height // 4, width // 4, 3))
    picture = blocks.repeat(4, 0).repeat(4, 1) + rng.integers(-20, 21, (height, width, 3))
    return picture.astype(np.uint8)


def encode(array: npt.NDArray[Any], how: str) -> tuple[bytes, dict[str, Any], Tensors | Any]:
    """Store an array as the converter does: bytes, what the manifest says, what they mean."""
    if how == "float32":
        return array.tobytes(), {}, array
    if how == "float16":
        half = array.astype(np.float16)
        return half.tobytes(), {"quantization": {"dtype": "float16"}}, half.astype(np.float32)
    low, levels = float(array.min()), np.iinfo(how).max
    scale = (float(array.max()) - low) / levels
    stored = np.round((array - low) / scale).astype(how)
    entry = {"dtype": how, "scale": scale, "min": low, "original_dtype": "float32"}
    return stored.tobytes(), {"quantization": entry}, (stored * scale + low).astype(np.float32)


def write_model(
    folder: Path,
    how: str = "float32",
    change: Callable[[dict[str, Any]], None] = lambda model: None,
    tensors: Tensors | None = None,
) -> Tensors:
    """Write such a model in two groups of shards; give the weights it stands for."""
    tensors = random_tensors() if tensors is None else tensors
    groups, meant = [], {}
    names = sorted(tensors)
    for number, part in enumerate((names[:20], names[20:]), 1):
        data, entries = b"", []
        if number == 2:  # what a conversion of the whole pipeline holds beside the weights
            data += np.array([2, 2], "<i4").tobytes() + b"\x01"
            entries.append({"name": "generator/mul/y", "shape": [2], "dtype": "int32"})
            entries.append({"name": "flag", "shape": [], "dtype": "bool"})
        for name in part:
            stored, more, meant[name] = encode(tensors[name], how)
            shape = list(tensors[name].shape)
            entries.append({"name": name, "shape": shape, "dtype": "float32"} | more)
            data += stored
        cuts = [0, 1001, len(data) // 2, len(data)]  # not at the tensors' borders
        paths = [f"group{number}-shard{i}of3.bin" for i in (1, 2, 3)]
        for path, start, end in zip(paths, cuts, cuts[1:], strict=False):
            (folder / path).write_bytes(data[start:end])
        groups.append({"paths": paths, "weights": entries})
    model = {
        "format": "graph-model",
        "modelTopology": {"node": [{"name": "input", "op": "Placeholder"}]},
        "weightsManifest": groups,
    }
    change(model)
    (folder / "model.json").write_text(json.dumps(model))
    return meant


def run(network: torch.nn.Module, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    photo = torch.from_numpy(rgb.transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
    with torch.no_grad():
        return network(photo)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("how", ["float32", "float16", "uint8", "uint16"])
def test_pipeline_equals_the_published_one(how: str, tmp_path: Path) -> None:
    meant = write_model(tmp_path, how)
    generator = AuthorsGenerator()
    fill(generator, read_tensors(tmp_path), tmp_path)
    for size in [(16, 20), (32, 28)]:
        picture = a_picture(*size)
        expected = published(picture, meant)
        assert expected.std() > 0.1  # a result, not a constant
        np.testing.assert_allclose(run(AuthorsPipeline(generator), picture), expected, atol=1e-4)


def psnr(found: npt.NDArray[np.uint8], expected: Array) -> float:
    return float(10 * np.log10(255**2 / np.square(found - expected).mean()))


def test_imported_style_is_pixel_close(tmp_path: Path) -> None:
    """Within 1/255 in [-1, 1], half a level: the style may keep its weights as float16.

    As a style too, from levels to levels: at the edges of a photo as everywhere.
    """
    (tmp_path / "model").mkdir()
    meant = write_model(tmp_path / "model", "uint8")
    folder = import_tfjs(tmp_path / "model", tmp_path / "published")
    assert folder == tmp_path / "published"
    card = read_card(folder)
    assert (card.name, card.size_multiple, card.licence) == ("published", 8, LICENCE)
    style = load_style(folder, engine="onnxruntime")
    for size in [(16, 20), (32, 28)]:
        picture = a_picture(*size)
        photo = picture.transpose(2, 0, 1)[None] / np.float32(127.5) - 1
        found = style.session.run(photo)[0].transpose(1, 2, 0)
        expected = published(picture, meant)
        assert np.abs(found - expected).max() <= 1 / 255
        if picture.shape[0] % 8 == picture.shape[1] % 8 == 0:
            assert psnr(style(picture), (expected + 1) * 127.5) >= 50
    for size in [(32, 24), (35, 29), (39, 47), (47, 16)]:
        height, width = (side // 8 * 8 for side in size)
        picture = np.ascontiguousarray(a_picture(48, 48)[: size[0], : size[1]])
        expected = published(picture[:height, :width], meant)
        found = style(picture)
        assert found.shape == picture.shape
        assert psnr(found[:height, :width], (expected + 1) * 127.5) >= 50


def test_model_json_itself_and_a_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def write_style(network: torch.nn.Module, folder: Path, card: Card, force: bool) -> Path:
        asked.update(folder=folder, name=card.name, licence=card.licence, force=force)
        return folder

    monkeypatch.setattr("toonbox.learn.import_tfjs.write_style", write_style)
    write_model(tmp_path)
    folder = import_tfjs(tmp_path / "model.json", tmp_path / "hayao", licence="mine", force=True)
    assert folder == asked["folder"] == tmp_path / "hayao"
    assert (asked["name"], asked["licence"], asked["force"]) == ("hayao", "mine", True)


@pytest.mark.parametrize(
    "spelling",
    [
        "{}:0",
        "{}/read",
        "{}/read/_3__cf__3",
        "{}/ReadVariableOp",
        "StatefulPartitionedCall/{}",
    ],
)
def test_converters_spellings(spelling: str) -> None:
    tensors = random_tensors()
    plain, spelt = AuthorsGenerator(), AuthorsGenerator()
    fill(plain, tensors, Path("model"))
    fill(spelt, {spelling.format(name): array for name, array in tensors.items()}, Path("model"))
    for a, b in zip(plain.parameters(), spelt.parameters(), strict=True):
        assert torch.equal(a, b)


KERNEL = "generator/Conv_3/weights"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({KERNEL: None}, r"Missing key.*down2\.0\.weight"),
        ({KERNEL: np.zeros((3, 3, 64, 32))}, r"size mismatch for down2\.0\.weight: .*32, 64, 3, 3"),
        ({KERNEL: np.zeros(3)}, r"size mismatch for down2\.0\.weight"),
        ({KERNEL: np.full((3, 3, 64, 64), np.nan)}, "Conv_3/weights: has NaN or infinity"),
        ({KERNEL + ":0": np.zeros((3, 3, 64, 64))}, "Conv_3/weights:0: there is another tensor"),
        ({"generator/Conv_10/biases": np.zeros(3)}, r"Unexpected key.*Conv_10\.bias"),
        ({"generator/block_4/conv1/biases": np.zeros(3)}, r"Unexpected key.*block_4/conv1\.bias"),
    ],
)
def test_wrong_tensors_are_named(change: dict[str, Any], message: str) -> None:
    tensors = {k: v for k, v in (random_tensors() | change).items() if v is not None}
    with pytest.raises(StyleError, match=message):
        fill(AuthorsGenerator(), tensors, Path("model"))


def test_training_slots_are_left_alone() -> None:
    tensors = random_tensors() | {f"{KERNEL}/Adam": np.zeros(3, np.float32)}
    fill(AuthorsGenerator(), tensors, Path("model"))


def drop_format(model: dict[str, Any]) -> None:
    del model["format"]


def test_old_converters_name_no_format(tmp_path: Path) -> None:
    write_model(tmp_path, change=drop_format)
    assert len(read_tensors(tmp_path)) == 38


def set_first(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda model: model["weightsManifest"][0]["weights"][0].update({key: value})


def set_paths(*paths: Any) -> Callable[[dict[str, Any]], None]:
    return lambda model: model["weightsManifest"][0].update(paths=paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda model: model.update(format="layers-model"),
            "format: .* 'graph-model'",
        ),
        (lambda model: model.update(modelTopology={"class_name": "Model"}), "not a TensorFlow"),
        (lambda model: model.pop("modelTopology"), "modelTopology: Field required"),
        (lambda model: model.pop("weightsManifest"), "weightsManifest: Field required"),
        (
            lambda model: model.update(weightsManifest=3),
            "weightsManifest: Input should be a valid array",
        ),
        (set_first("dtype", "string"), "dtype: Input should be 'float32'"),
        (set_first("shape", [-1]), r"shape\.0: .* greater than or equal to 0"),
        (set_first("shape", [10**4000] * 1000), "shape"),
        (set_first("shape", [1] * 1000), "shape: List should have at most 8 items"),
        (set_first("shape", [1 << 20, 1 << 20]), "tensors claim more than 64 MiB"),
        (set_first("shape", [float("inf")]), r"shape\.0: "),
        (set_first("quantization", {"dtype": "uint8", "scale": 10**400}), "bytes, expected"),
        (lambda model: model.update(format=[[[[[[[[[0]]]]]]]]]), "not a TensorFlow"),
        (set_first("dtype", "a" * 100_000), "dtype: "),
        (set_first("name", "generator/Conv_1/biases"), "is duplicated"),
        (set_paths("../secret.bin"), "outside of the model's folder"),
        (set_paths("a/../../secret.bin"), "outside of the model's folder"),
        (set_paths("/etc/passwd"), "outside of the model's folder"),
        (set_paths("a\0b"), "outside of the model's folder"),
        (set_paths(3), r"paths\.0: .* valid string"),
        (set_paths("."), "Is a directory"),
        (set_paths("model.json", *["group1-shard1of3.bin"] * 100_000), "bytes, expected"),
    ],
)
def test_wrong_manifest_is_named(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path
) -> None:
    small = {name: array for name, array in random_tensors().items() if name.endswith("biases")}
    write_model(tmp_path, change=change, tensors=small)
    with pytest.raises(StyleError, match=message) as caught:
        read_tensors(tmp_path)
    assert tmp_path.name in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_shard_that_never_ends_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, change=set_paths("endless"), tensors={KERNEL: np.zeros(3, np.float32)})
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(StyleError, match="endless: not a regular file"):
        read_tensors(tmp_path)


def test_a_model_that_is_too_large_is_named(tmp_path: Path) -> None:
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(StyleError, match=r"model\.json: more than the 4,194,304 bytes"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]", "\xff"])
def test_broken_json_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(StyleError, match=r"model\.json: not "):
        read_tensors(tmp_path)


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(StyleError, match=r"model\.json: No such file"):
        read_tensors(tmp_path)
    with pytest.raises(StyleError, match="absent: No such file"):
        read_tensors(tmp_path / "absent")


def test_missing_short_and_long_shards_are_named(tmp_path: Path) -> None:
    write_model(tmp_path)
    shard = tmp_path / "group2-shard2of3.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(StyleError, match=r"group2-shard2of3\.bin.*: \d+ bytes, expected"):
        read_tensors(tmp_path)
    shard.write_bytes(whole + b"\0")
    with pytest.raises(StyleError, match=r"group2-shard2of3\.bin.*: \d+ bytes, expected \d+"):
        read_tensors(tmp_path)
    shard.unlink()
    with pytest.raises(StyleError, match=r"group2-shard2of3\.bin: No such file"):
        read_tensors(tmp_path)


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
