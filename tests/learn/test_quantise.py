from pathlib import Path

import numpy as np
import onnx
import pytest

from toonbox.engine.session import INT8_RANGES, open_session
from toonbox.learn import quantise
from toonbox.learn.quantise import find_ranges, with_ranges


def photos(count: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("knobs", [0, 3])
def test_the_convolutions_that_err_least_come_first(
    tiny_style, knobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(tiny_style(network_knobs=knobs) / "style.onnx")
    inputs = {node.input[0] for node in model.graph.node if node.op_type == "Conv"} - {"photo"}
    monkeypatch.setattr(quantise, "BUDGET", 1.0)
    ranges = find_ranges(model, photos())
    assert set(ranges) == inputs
    for low, high in ranges.values():
        assert low <= 0 < high
        assert -low / (high - low) * 255 == pytest.approx(round(-low / (high - low) * 255))
    monkeypatch.setattr(quantise, "BUDGET", 0.0)
    assert find_ranges(model, photos()) == {}


def test_openvino_rounds_as_the_search_did(
    tiny_style, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("toonbox.engine.session.platform.machine", lambda: "x86_64")
    monkeypatch.setattr(quantise, "BUDGET", 1.0)
    model = onnx.load(tiny_style() / "style.onnx")
    ranges = find_ranges(model, photos())
    file = tmp_path / "style.onnx"
    onnx.save(with_ranges(model, ranges), file)
    session = open_session(file, "openvino", precision="int8")
    photo = photos()[0]
    ((exact,),) = quantise._outputs(model, [{"photo": photo}], ["cartoon"])
    rounded = quantise._rounded(model, ranges)
    ((expected,),) = quantise._outputs(rounded, [{"photo": photo}], ["cartoon"])
    error = np.abs(expected - exact).mean()
    assert error > 0
    assert np.abs(session.run(photo) - expected).mean() < error / 2


def test_ranges_are_noted_beside_the_network(tiny_style) -> None:
    model = onnx.load(tiny_style() / "style.onnx")
    noted = with_ranges(with_ranges(model, {"a0": (-1.0, 2.0)}), {"b": (-3.5, 4.25)})
    assert {each.key: each.value for each in noted.metadata_props} == {INT8_RANGES: "b -3.5 4.25"}
    assert noted.graph == model.graph
