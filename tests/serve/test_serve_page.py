"""The examples of docs/serve.md run: Python ones, and those for a shell with curl."""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from toonbox.serve.settings import ServerOptions
from video_files import Clip

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()


@pytest.fixture
def here(tmp_path, monkeypatch, photo):
    """A folder with the files that the page names."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("a.jpg", "b.jpg"):
        Path(name).write_bytes(photo)
    Clip().make(folder / "clip.mp4")
    return folder


@pytest.fixture
def examples(serve, style_folder):
    """Start a server; give the page's examples in a language, for its port."""
    server = serve(style="comic-fast")

    def found(language):
        blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.S | re.M)
        blocks = [block for block in blocks if "127.0.0.1:8000" in block or language == "python"]
        assert blocks
        return [block.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}") for block in blocks]

    return found


@pytest.mark.slow
def test_python(here, examples):
    names = {}
    for number, block in enumerate(examples("python")):
        exec(compile(block, f"serve.md, example {number}", "exec"), names)
    assert Image.open("a.toon.webp").format == "WEBP"
    assert zipfile.ZipFile("cartoons.zip").namelist() == ["a.toon.jpg", "b.toon.jpg"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_shell(here, examples):
    for block in examples("sh"):
        run = subprocess.run(["sh", "-ec", block], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    assert Image.open("a.toon.jpg").format == "JPEG"
    assert Image.open("a.toon.png").format == "PNG"
    assert Path("clip.toon.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_table_of_limits_is_complete():
    names = set(re.findall(r"`--([a-z-]+)`", PAGE.partition("## Limits")[2].partition("## Sec")[0]))
    fields = {name.replace("_", "-") for name in ServerOptions.__dataclass_fields__}
    assert fields - {"ENVIRONMENT"} == names
