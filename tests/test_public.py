import inspect
import re
import subprocess
import sys

import pytest

import toonbox


def test_public_names():
    assert toonbox.__all__ == sorted(toonbox.__all__)
    for name in toonbox.__all__:
        assert getattr(toonbox, name) is not None
        assert name in dir(toonbox)


def test_what_public_signatures_name_is_public():
    """Every class of ours that a public function takes, returns or documents as raised."""
    named = set()
    for name in toonbox.__all__:
        if inspect.isfunction(member := getattr(toonbox, name)):
            text = f"{inspect.signature(member)} {member.__doc__}"
            named |= set(
                re.findall(r"\b[A-Z]\w*(?:Error|Options|Result|Frame)\b|\bProgress\b", text)
            )
    assert named - {"TypeError"} <= {*toonbox.__all__}
    assert {"PictureError", "VideoError", "StyleOptions", "VideoResult"} <= named


def test_unknown_name():
    with pytest.raises(AttributeError, match="module 'toonbox' has no attribute 'cartonise'"):
        toonbox.cartonise  # noqa: B018


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
