from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from toonbox.engine import session
from toonbox.engine.session import INT8_RANGES, choose_precision, open_session
from toonbox.engine.style import MODEL, SHIPPED, read_card
from toonbox.errors import StyleError, UsageError
from toonbox.images.picture import decode
from toonbox.pixels import to_signed

AVX2 = ["FP32", "INT8", "BIN"]
AVX512_BF16 = ["BF16", "WINOGRAD", *AVX2]
EXAMPLE = Path(__file__).parents[2] / "examples" / "laptop.jpg"
PHOTO = np.random.default_rng(0).uniform(-1, 1, (1, 3, 40, 64)).astype(np.float32)


@pytest.fixture(autouse=True)
def intel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.platform, "machine", lambda: "x86_64")


def noted(style: Path, text: str) -> Path:
    """Write what a style's network notes as its ranges for int8."""
    model = onnx.load(style / "style.onnx")
    helper.set_model_props(model, {INT8_RANGES: text})
    onnx.save(model, style / "style.onnx")
    return style / "style.onnx"


@pytest.mark.parametrize(
    ("capabilities", "ranges", "expected"),
    [
        (AVX2, False, "float32"),
        (AVX2, True, "int8"),
        (AVX512_BF16, False, "float32"),
        (AVX512_BF16, True, "int8"),
        (["FP32"], True, "float32"),
    ],
)
def test_auto_takes_what_the_processor_gains_by(capabilities, ranges, expected) -> None:
    assert choose_precision("auto", capabilities, ranges) == expected


def test_what_is_wanted_is_taken_or_refused() -> None:
    assert choose_precision("float32", AVX512_BF16, True) == "float32"
    assert choose_precision("bfloat16", AVX512_BF16, True) == "bfloat16"
    assert choose_precision("int8", AVX512_BF16, True) == "int8"
    for wanted, capabilities, ranges, reason in (
        ("bfloat16", AVX2, True, "does not support bfloat16"),
        ("int8", ["FP32"], True, "does not support int8"),
        ("int8", AVX2, False, "not exported for int8"),
    ):
        with pytest.raises(UsageError, match=reason):
            choose_precision(wanted, capabilities, ranges)


def test_arm_never_computes_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.platform, "machine", lambda: "aarch64")
    assert choose_precision("auto", AVX2, True) == "float32"
    with pytest.raises(UsageError, match="does not support int8"):
        choose_precision("int8", AVX2, True)


def test_only_openvino_knows_other_precisions(tiny_style) -> None:
    model = tiny_style() / "style.onnx"
    open_session(model, "onnxruntime", precision="float32")
    with pytest.raises(UsageError, match="int8 needs the engine openvino, not onnxruntime"):
        open_session(model, "onnxruntime", precision="int8")
    with pytest.raises(UsageError, match="no precision 'int4'"):
        open_session(model, precision="int4")  # type: ignore[arg-type]


def test_int8_is_near_float32_and_stays_when_shared(tiny_style) -> None:
    pytest.importorskip("openvino")
    model = noted(tiny_style(), "a0 -2 6\na2 -2 6\nunknown -1 1")
    exact = open_session(model, "openvino", threads=2, precision="float32")
    rounded = open_session(model, "openvino", threads=2)
    assert (exact.precision, rounded.precision) == ("float32", "int8")
    a, b, c = (each.run(PHOTO) for each in (exact, rounded, rounded.shared(2)))
    assert rounded.shared(2).precision == "int8"
    np.testing.assert_allclose(a, open_session(model, "onnxruntime").run(PHOTO), atol=1e-4)
    assert 1e-4 < np.abs(a - b).max() < 0.2
    np.testing.assert_allclose(b, c, atol=1e-6)


@pytest.mark.parametrize("text", ["a0", "a0 1 x", "a0 3 2", "a0 nan 1", "a0 0 inf"])
def test_damaged_ranges_are_named(tiny_style, text: str) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(StyleError, match=r"style\.onnx: its ranges for int8"):
        open_session(noted(tiny_style(), text), "openvino")


@pytest.mark.parametrize("folder", sorted(card.parent for card in SHIPPED.glob("*/card.toml")))
def test_shipped_styles_stay_within_45_db_in_int8(folder: Path) -> None:
    pytest.importorskip("openvino")
    rgb = decode(EXAMPLE).rgb
    top, left = (side // 2 - 128 for side in rgb.shape[:2])
    square = rgb[top : top + 256, left : left + 256]
    photo = to_signed(np.ascontiguousarray(square.transpose(2, 0, 1)[None]))
    knobs = np.ones((1, len(read_card(folder).knobs)), np.float32)
    exact, rounded = (
        open_session(folder / MODEL, "openvino", threads=1, precision=precision).run(photo, knobs)
        for precision in ("float32", "int8")
    )
    assert 0 < np.square(exact - rounded).mean() < 4 * 10**-4.5
