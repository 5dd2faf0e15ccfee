"""The examples for Python, on their page and in the README, run and have the types they say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from picture_files import smooth

ROOT = Path(__file__).parents[1]
PAGES = ("docs/python.md", "README.md")


def examples(page):
    found = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.S | re.M)
    assert found
    return found


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "c.jpg", "photo.jpg"):
        Image.fromarray(smooth()).save(name)
    before, names = set(tmp_path.iterdir()), {}
    for number, example in enumerate(examples(page)):
        exec(compile(example, f"{page}, example {number}", "exec"), names)
    assert set(tmp_path.iterdir()) > before
    if page == "docs/python.md":
        assert "c.jpg: is text, not a picture\n" in capsys.readouterr().out


def test_examples_are_typed(tmp_path):
    files = []
    for page in PAGES:
        files.append(tmp_path / f"{Path(page).stem.lower()}_examples.py")
        files[-1].write_text("\n".join(examples(page)))
    wrong = tmp_path / "wrong.py"
    wrong.write_text('import toonbox\ntoonbox.cartoonize("a.jpg")\n')
    command = [sys.executable, "-m", "mypy", "--strict"]  # as by `make test`, whose cache it uses
    run = subprocess.run(
        [*command, *map(str, files), str(wrong)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": "src"},
    )
    assert re.search(r"wrong\.py:2: error: Value of type variable", run.stdout), run.stdout
    assert "Found 1 error in 1 file" in run.stdout, run.stdout
