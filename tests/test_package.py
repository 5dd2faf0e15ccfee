"""The wheel and the source archive: what is in them, and that the wheel works on its own."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

build = pytest.importorskip("hatchling.build", reason="needs pip install hatchling")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Build both, in a process of its own, which works in the project's folder."""
    out = tmp_path_factory.mktemp("dist")
    for name in ("build_wheel", "build_sdist"):
        code = f"import sys, hatchling.build; hatchling.build.{name}(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, check=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def test_contents_of_the_wheel(archives):
    names = set(zipfile.ZipFile(archives[0]).namelist())
    for name in ("py.typed", "styles/comic/style.onnx", "styles/comic/card.toml",
                 "learn/looks/comic.toml", "learn/evaluate/blind.html"):  # fmt: skip
        assert f"toonbox/{name}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"toonbox"}
    assert not [name for name in names if name.endswith((".pt", ".npy", ".pyc"))]


def test_contents_of_the_source_archive(archives):
    with tarfile.open(archives[1]) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/conftest.py",
            "recipes/comic.toml", "docs/index.md", "src/toonbox/__init__.py"} <= names  # fmt: skip
    assert not [name for name in names if name.startswith(("checkpoints", ".venv", "demo"))]


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(archives, tmp_path):
    """All but toonbox itself comes from the environment of the tests: nothing is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    scripts = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    (site,) = (tmp_path / "venv").glob("**/site-packages")
    zipfile.ZipFile(archives[0]).extractall(site)
    others = tmp_path / "others"
    others.mkdir()
    for package in Path(sys.modules["PIL"].__file__).parents[1].iterdir():
        if "toonbox" not in package.name and package.suffix != ".pth":
            (others / package.name).symlink_to(package)
    (site / "others.pth").write_text(str(others))
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "photo.jpg")
    run = subprocess.run(
        [scripts / "python", "-m", "toonbox", "photo.jpg"],
        cwd=tmp_path, capture_output=True, text=True, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == "photo.jpg -> photo.toon.jpg\n"
    with Image.open(tmp_path / "photo.toon.jpg") as cartoon:
        assert cartoon.size == (96, 64)
