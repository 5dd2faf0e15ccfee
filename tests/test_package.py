"""The wheels and the source archive: what is in them, and that they work on their own."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from toonbox.page import FOLDER, RUNTIME, site_files
from toonbox.version import __version__

build = pytest.importorskip("hatchling.build", reason="needs pip install hatchling")
pytestmark = pytest.mark.usefixtures("unmeasured")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Build both, in a process of its own, which works in the project's folder."""
    out = tmp_path_factory.mktemp("dist")
    for name in ("build_wheel", "build_sdist"):
        code = f"import sys, hatchling.build; hatchling.build.{name}(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(out)], cwd=ROOT, check=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def page_wheel(tmp_path_factory):
    if not (FOLDER / RUNTIME).is_file():
        pytest.skip(f"needs npm ci --prefix {FOLDER}")
    out = tmp_path_factory.mktemp("page")
    code = "import sys, hatchling.build; hatchling.build.build_wheel(sys.argv[1])"
    project = ROOT / "packaging" / "page"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=project, check=True)
    return next(out.glob("*.whl"))


def test_contents_of_the_wheel(archives):
    names = set(zipfile.ZipFile(archives[0]).namelist())
    for name in ("py.typed", "styles/comic/style.onnx", "styles/comic/card.toml",
                 "learn/looks/comic.toml", "learn/evaluate/blind.html"):  # fmt: skip
        assert f"toonbox/{name}" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"toonbox"}
    assert not [name for name in names if name.endswith((".pt", ".npy", ".pyc"))]
    assert [name for name in names if "/page/" in name] == ["toonbox/page/__init__.py"]


def test_contents_of_the_wheel_of_the_page(page_wheel):
    """All of the site but what is made on the way, and nothing that the other wheel has."""
    names = set(zipfile.ZipFile(page_wheel).namelist())
    parts = {name.removeprefix("toonbox/page/") for name in names if name.startswith("toonbox/")}
    made = ("models/", "example.jpg", "vendor/onnxruntime.ThirdParty")
    assert parts == {name for name in site_files() if not name.startswith(made)}
    about = {name.partition("/")[2] for name in names if not name.startswith("toonbox/")}
    assert about == {"METADATA", "WHEEL", "RECORD", "licenses/LICENSE"}
    assert page_wheel.name == f"toonbox_page-{__version__}-py3-none-any.whl"


def test_the_extra_wants_the_page_of_the_same_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"toonbox-page=={__version__}" in project["optional-dependencies"]["serve"]


def test_contents_of_the_source_archive(archives):
    with tarfile.open(archives[1]) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "tests/conftest.py",
            "recipes/comic.toml", "docs/index.md", "src/toonbox/__init__.py"} <= names  # fmt: skip
    assert not [name for name in names if name.startswith(("checkpoints", ".venv", "demo"))]


@pytest.fixture
def installed(archives, tmp_path):
    """Install the wheel in an environment of its own; return its Python and its packages.

    All but toonbox itself comes from the environment of the tests: nothing is downloaded.
    """
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
    return scripts / "python", site


def run(python, folder, *arguments):
    return subprocess.run(
        [python, "-m", "toonbox", *arguments],
        cwd=folder, capture_output=True, text=True, env={"HOME": str(folder)},
    )  # fmt: skip


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(installed, tmp_path):
    python, _ = installed
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "photo.jpg")
    drawn = run(python, tmp_path, "photo.jpg")
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stdout == "photo.jpg -> photo.toon.jpg\n"
    with Image.open(tmp_path / "photo.toon.jpg") as cartoon:
        assert cartoon.size == (96, 64)


@pytest.mark.slow
def test_both_wheels_make_the_page(installed, page_wheel, tmp_path):
    python, site = installed
    without = run(python, tmp_path, "page", "-o", "page")
    assert without.returncode == 1
    assert "pip install 'toonbox[serve]'" in without.stderr
    zipfile.ZipFile(page_wheel).extractall(site)
    written = run(python, tmp_path, "page", "-o", "page")
    assert written.returncode == 0, written.stderr
    names = {
        file.relative_to(tmp_path / "page").as_posix()
        for file in (tmp_path / "page").rglob("*")
        if file.is_file()
    }
    assert names == set(site_files())
