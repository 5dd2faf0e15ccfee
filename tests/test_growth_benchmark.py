"""Everything that grows gets its points and its page; how long it takes depends on the machine."""

import io
import json
import subprocess
import sys
from contextlib import nullcontext, redirect_stdout
from types import SimpleNamespace

import pytest
from PIL import Image

from test_benchmarks import module, run
from toonbox.convert import ray
from toonbox.convert.job import Converter, convert_all
from toonbox.engine.style import load_style
from toonbox.parallel import available_processors

pytest.importorskip("matplotlib")
pytest.importorskip("resource")
pytestmark = pytest.mark.usefixtures("unmeasured")
MANY = 1000


def without_ray(monkeypatch):
    """Compare workers in this process, and let threads stand for those of a cluster."""

    def run_here(command, **_):
        with redirect_stdout(io.StringIO()) as output:
            peers.main(*command[2:])
        return SimpleNamespace(stdout=output.getvalue())

    def convert(jobs, style, workers):
        return convert_all(jobs, Converter(load_style(style, threads=1)), parallel=workers)

    peers, told = module("growth_peers"), {"PIPE": subprocess.PIPE}
    told |= {"run": run_here, "CalledProcessError": subprocess.CalledProcessError}
    monkeypatch.setattr(module("growth"), "subprocess", SimpleNamespace(**told))
    monkeypatch.setattr(ray, "running", nullcontext)
    monkeypatch.setattr(ray, "convert_on_ray", convert)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="nothing else limits memory")
def test_every_series_has_the_points_asked_for(tmp_path, monkeypatch):
    without_ray(monkeypatch)
    monkeypatch.setattr(module("inference"), "MATRIX_SIDE", 256)
    page = tmp_path / "page.png"
    done = run(
        "growth.py",
        f"--output {page} --style comic-fast --megapixels 0.03 3 --peer-memory {10**9} "
        "--lengths 1 2 --video-size 96 64 --files 1 3 --side 64 --workers 1 --worker-side 64 "
        f"--pictures {2 * available_processors()} --simulated 1 8 --services 1 --channels 4 8 "
        "--crop 48",
    )
    assert done.returncode == 0, done.stderr
    assert "the authors' network does not do 3 megapixels in 954M" in done.stdout
    found = json.loads(page.with_suffix(".json").read_text())["found"]
    asked = {
        "photo": [0.03, 3],
        "video": [1, 2],
        "folder": [1, 3],
        "workers": [1],
        "store": [1, 8],
        "training": [4, 8],
    }
    assert set(found) == set(asked)
    for name, series in found.items():
        assert len(series) >= 2
        for line, points in series.items():
            at = [0.03] if line.startswith("authors") else asked[name]
            assert [point["at"] for point in points] == at
            assert all(min(point.values()) > 0 for point in points)
    smaller, larger = (point["operations"] for point in list(found["training"].values())[1])
    assert smaller < larger
    with Image.open(page) as opened:
        opened.load()
        assert opened.format == "PNG"
        assert opened.width > opened.height > 900  # three rows of three


def test_some_panels_alone(tmp_path):
    page = tmp_path / "page.png"
    line = "--only store --style comic-fast --simulated 1 --services 2 --worker-side 64"
    assert run("growth.py", f"{line} --output {page}").returncode == 0
    assert set(json.loads(page.with_suffix(".json").read_text())["found"]) == {"store"}
    assert page.stat().st_size > MANY


@pytest.mark.parametrize(
    ("workers", "pictures", "bandwidth", "seconds"),
    [
        (1, 3, 2, 3 * (2 + 6 + 3)),  # one waits for nobody
        (2, 2, 2, 14),  # 0-2 and 2-4 received, drawn at 8 and 10, 8-11 and 11-14 sent
        (4, 8, 1e12, 2 * 6),  # the store takes no time
        (MANY, 2 * MANY, 0.01, 2 * MANY * 10 / 0.01),  # nothing else takes time
    ],
)
def test_simulated_workers_share_a_store(workers, pictures, bandwidth, seconds):
    growth = module("growth")
    services = [growth.Service(1, 2, 3, received=4, sent=6)]
    took = growth.simulate(services, workers, pictures, bandwidth)
    assert took == pytest.approx(seconds, rel=1e-4)


def test_services_differ_between_pictures():
    growth = module("growth")
    services = [growth.Service(1, 2, 3, 4, 6), growth.Service(0, 0, 0, 2, 2)]
    assert growth.simulate(services, 1, 4, 2) == 2 * (11 + 2)


@pytest.mark.parametrize("wrong", ["--files 0", "--pictures 3 --workers 2"])
def test_nothing_grows_from_nothing(wrong):
    assert run("growth.py", wrong).returncode == 2
