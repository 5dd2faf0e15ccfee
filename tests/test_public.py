import subprocess
import sys

import pytest

import toonbox


def test_public_names():
    assert toonbox.__all__ == [
        "Style",
        "ToonboxError",
        "__version__",
        "cartoon_frames",
        "cartoonize",
        "cartoonize_video",
        "list_styles",
        "load_style",
    ]
    for name in toonbox.__all__:
        assert getattr(toonbox, name) is not None
        assert name in dir(toonbox)
    assert callable(toonbox.cartoonize)


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'toonbox' has no attribute 'cartonise'"):
        toonbox.cartonise  # noqa: B018


def test_names_are_those_of_their_modules():
    from toonbox.convert.cartoonize import Style, cartoonize, load_style
    from toonbox.engine.card import list_styles

    assert toonbox.cartoonize is cartoonize
    assert toonbox.load_style is load_style
    assert toonbox.list_styles is list_styles
    assert toonbox.Style is Style


def modules_after(code):
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return {name.split(".")[0] for name in printed.split()}


def test_import_brings_next_to_nothing():
    heavy = {"torch", "onnxruntime", "openvino", "numpy", "PIL", "cv2", "typer", "rich", "av"}
    assert not modules_after("import toonbox") & heavy


def test_command_line_starts_light():
    heavy = {"torch", "onnxruntime", "openvino", "numpy", "PIL", "cv2", "av"}
    assert not modules_after("import toonbox.cli.main") & heavy


def test_using_it_never_brings_the_learning_half():
    learning = {"torch", "cv2", "onnx", "safetensors", "lightning_fabric"}
    used = modules_after("from toonbox import cartoonize, load_style, list_styles; list_styles()")
    assert "PIL" in used
    assert not used & learning
