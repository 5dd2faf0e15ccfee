"""Styles that mean harm, or do it."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from toonbox.cli.main import main
from toonbox.engine.style import read_card, write_card

ESCAPES = "\x1b]0;title\x07\x1b[31mred\x9b2J\r\n\u202e"


@pytest.fixture
def toonbox_alone(capsys):
    """Give a function like `toonbox` for commands that take no style."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([*map(str, arguments)])
        return exit.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def own_styles(style_folder, monkeypatch):
    monkeypatch.setenv("TOONBOX_STYLES", str(style_folder.parent))
    return style_folder


def harmless(text):
    return not set(text) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}


def test_cards_are_listed_without_their_escapes(toonbox_alone, own_styles):
    write_card(
        replace(read_card(own_styles), licence="CC0\x1b[0m", description=ESCAPES), own_styles
    )
    code, output, _ = toonbox_alone("styles")
    assert code == 0
    assert harmless(output)
    assert r"CC0\x1b[0m  \x1b]0;title\x07\x1b[31mred\x9b2J\r\n\u202e" in output


def test_messages_have_no_escapes_either(toonbox, tmp_path, own_styles):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    write_card(replace(read_card(own_styles), name=ESCAPES), own_styles)
    code, _, errors = toonbox(tmp_path / "a.png", "--texture", "2")
    assert code == 2
    assert harmless(errors)
    assert r"\x1b[31mred" in errors
    code, _, errors = toonbox(tmp_path / "\x1b[2J.png")
    assert code == 1
    assert harmless(errors)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = " + "[" * 4000, "nested too deeply"),
        ("name" + ".a" * 4000 + " = 1", "name should be a text, found {'a': {'a'"),
        ("x = 1\n" * 2000, "more than the 8,192 bytes"),
        ("reach = 1" + "0" * 5000, "Exceeds the limit"),
        ('name = "\x1b[31m"', "Illegal character"),
    ],
)
def test_a_card_that_breaks_is_named_and_the_others_are_listed(
    toonbox_alone, tiny_style, own_styles, text, reason
):
    (tiny_style("bad", to=own_styles.parent) / "card.toml").write_text(text)
    code, output, errors = toonbox_alone("styles")
    assert code == 1
    assert read_card(own_styles).description in output
    assert f"bad{os.sep}card.toml: " in errors
    assert reason in errors
    assert len(errors) < 500


def test_a_card_that_is_no_file_makes_no_style(toonbox_alone, tiny_style, own_styles):
    pipe, link = (tiny_style(name, to=own_styles.parent) / "card.toml" for name in ("a", "b"))
    pipe.unlink()
    os.mkfifo(pipe)
    link.unlink()
    link.symlink_to("nowhere")
    code, output, _ = toonbox_alone("styles")
    assert code == 0
    assert read_card(own_styles).description in output


def test_a_network_that_is_no_file_is_named(toonbox, tiny_style, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    folder = tiny_style()
    (folder / "style.onnx").unlink()
    os.mkfifo(folder / "style.onnx")
    code, _, errors = toonbox(tmp_path / "a.png", style=folder)
    assert code == 1
    assert "style.onnx: not a regular file" in errors


@pytest.mark.parametrize(
    "numbers",
    [{"size_multiple": 1 << 20, "working_resolution": 1 << 30, "reach": 1 << 30}, {"beyond": -1},
     {"beyond": 1 << 20}],
)  # fmt: skip
def test_a_card_cannot_make_a_small_photo_a_large_one(toonbox, tiny_style, tmp_path, numbers):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    code, _, errors = toonbox(tmp_path / "a.png", style=tiny_style(**numbers))
    assert code == 1
    assert "card.toml: size_multiple and beyond may be 256 at most, and not negative" in errors


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_values_that_are_not_finite_are_that_pictures_failure(
    toonbox, tiny_style, tmp_path, engine
):
    pytest.importorskip(engine)
    folder = divide(tiny_style())
    for name, value in (("black", 0), ("grey", 100), ("white", 255)):
        Image.new("RGB", (16, 16), (value,) * 3).save(tmp_path / f"{name}.png")
    options = ("-o", tmp_path / "out", "--engine", engine)
    code, _, errors = toonbox(*tmp_path.glob("*.png"), *options, style=folder)
    assert code == 1
    assert "black.png: tiny: made values that are not finite numbers" in errors
    assert "2 done, 1 failed" in errors
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["grey.toon.png", "white.toon.png"]


def divide(folder):
    """Let a style divide by its photo, which is zero where that is black."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"])
        for name in ("photo", "cartoon")
    ]
    nodes = [
        helper.make_node("Add", ["photo", "one"], ["sum"]),
        helper.make_node("Div", ["photo", "sum"], ["cartoon"]),
    ]
    one = numpy_helper.from_array(np.float32(1), "one")
    graph = helper.make_graph(nodes, "divide", ends[:1], ends[1:], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    data = model.SerializeToString()
    (folder / "style.onnx").write_bytes(data)
    write_card(replace(read_card(folder), onnx_sha256=hashlib.sha256(data).hexdigest()), folder)
    return folder
