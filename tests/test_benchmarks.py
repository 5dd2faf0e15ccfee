"""The benchmarks run and print their tables; nothing here depends on how long anything takes."""

import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from toonbox.cli.main import main as toonbox
from toonbox.page import FOLDER, RUNTIME

pytestmark = pytest.mark.usefixtures("unmeasured")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
EARLY_AND_LATE = "--early 2 --late 4 --style comic-fast"


def module(script: str) -> ModuleType:
    """Import a benchmark, as it does its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module(script.removesuffix(".py"))


def run(script: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark in this process."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    main, threads = module(script).main, torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        patch.setattr(sys, "argv", [script, *arguments.split()])
        patch.setenv("OMP_NUM_THREADS", "1")  # of the processes that it starts
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        finally:
            torch.set_num_threads(threads)
    return subprocess.CompletedProcess(script, code, output.getvalue(), errors.getvalue())


def run_apart(script: str, arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a benchmark in a process of its own: Playwright does not run twice in one."""
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments.split()],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def cells(output: str, row: str) -> list[float]:
    """Give the numbers of the one row that begins with `row`."""
    (line,) = (line for line in output.splitlines() if line.startswith(row))
    return [float(number) for number in re.findall(r"[\d.]+", line[len(row) :])]


class ShallowGenerator(nn.Sequential):
    """In place of the authors' network, whose conversion takes seconds."""

    size_multiple = 8

    def __init__(self) -> None:
        layers = nn.Conv2d(3, 64, 7, padding=3), nn.Conv2d(64, 64, 3, padding=1)
        super().__init__(*layers, nn.Conv2d(64, 3, 3, padding=1))


def authors_gflop(height: int, width: int) -> float:
    """Count by hooks what the benchmark counts from the ONNX file."""
    counted = []

    def count(layer: nn.Conv2d, _: object, result: torch.Tensor) -> None:
        counted.append(2e-9 * result.numel() * layer.weight[0].numel())

    network = ShallowGenerator()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, height, width))
    return sum(counted)


@pytest.mark.slow
def test_inference_prints_every_contender(monkeypatch):
    monkeypatch.setattr(module("inference"), "MATRIX_SIDE", 256)
    monkeypatch.setattr(module("inference"), "AuthorsGenerator", ShallowGenerator)
    monkeypatch.setattr(module("inference"), "find_spec", lambda _: None)  # of OpenVINO
    done = run("inference.py", "--size 64x48 --repeats 1 --threads 1")
    assert done.returncode == 0, done.stderr
    assert "64x48, float32, 1 threads, median of 1" in done.stdout
    assert re.search(r"^\S+, onnxruntime +[\d.]", done.stdout, re.MULTILINE)
    for engine in ("torch eager", "onnxruntime"):
        seconds, gflop, rate, of_peak, speed_up = cells(done.stdout, f"authors' network, {engine}")
        assert gflop == pytest.approx(authors_gflop(48, 64), abs=0.006)
        assert min(seconds, rate, of_peak, speed_up) > 0
    assert cells(done.stdout, "authors' network, torch eager")[-1] == 1
    assert cells(done.stdout, "matrix product, at its best")[1] == 0.03  # 2 x 256 ^ 3
    for name in ("comic, loaded, whole call /", "comic-fast, loaded, whole call / the same"):
        assert cells(done.stdout, name)[0] > 0
    assert "beside drawing and codec" in done.stdout
    assert re.search(r"^import toonbox \d+ ms, torch imported: no$", done.stdout, re.MULTILINE)


def test_inference_refuses_sizes_that_the_networks_would_pad():
    done = run("inference.py", "--size 60x48")
    assert done.returncode == 2
    assert "multiples of 8" in done.stderr


@pytest.mark.slow
def test_training_books_every_part(monkeypatch):
    monkeypatch.setattr(module("training"), "PICTURES", 4)
    done = run("training.py", "--steps 1 --crop 48 --batch 2 --workers 1")
    assert done.returncode == 0, done.stderr
    parts = [
        "waiting for data",
        "generator forward",
        "waiting for superpixels",
        "VGG",
        "discriminators  ",
        "generator backward, update",
        "representations, losses",
    ]
    rows = [cells(done.stdout, part) for part in parts]
    assert all(min(row[0], row[2]) > 0 for row in rows)
    total = cells(done.stdout, "total")
    for way in (0, 2):
        assert sum(row[way] for row in rows) == pytest.approx(total[way], abs=1e-3)
        assert sum(row[way + 1] for row in rows) == pytest.approx(100, abs=0.5)
    assert re.search(r"^superpixels in sequence make the step [\d.]+x", done.stdout, re.MULTILINE)


def test_many_compares_batches_and_lists_with_one_after_the_other(monkeypatch):
    monkeypatch.setattr(module("many"), "find_spec", lambda _: None)  # the same with OpenVINO
    done = run("many.py", "--count 4 --side 32 --megapixels 0.01 --repeats 1 --threads 1")
    assert done.returncode == 0, done.stderr
    for row in ("  one at a time", "  one after the other"):
        lines = [line for line in done.stdout.splitlines() if line.startswith(row)]
        assert lines
        assert all(cells(line, row)[1] == 1 for line in lines)
    assert min(cells(done.stdout, "  a list")) > 0
    assert cells(done.stdout, "a list of files / one after the other, rates")[0] > 0
    assert min(cells(done.stdout, "  4 at a time")) > 0


@pytest.mark.slow
def test_folder_compares_with_what_is_allowed_and_with_a_plain_loop(monkeypatch):
    monkeypatch.setattr(module("folder"), "SIZE", (1600, 1200))
    monkeypatch.setattr(module("folder"), "AUTHORS_SHORT_SIDE", 72)
    done = run("folder.py", "--count 1 --threads 1 --engine onnxruntime")
    assert done.returncode == 0, done.stderr
    seconds = {}
    for row in ("folder", "codec alone", "network alone", "plain loop", "allowed"):
        seconds[row], worked, rate = cells(done.stdout, f"{row:16}")
        assert min(seconds[row], worked, rate) > 0
    together = seconds["codec alone"] + seconds["network alone"]
    assert seconds["allowed"] == pytest.approx(together, abs=0.02)
    ratio = cells(done.stdout, "folder / what network and codec allow, rates")[0]
    allowed, folder, half = seconds["allowed"], seconds["folder"], 0.005  # of the last digit
    assert (allowed - half) / (folder + half) - half <= ratio
    assert ratio <= (allowed + half) / max(folder - half, 1e-9) + half
    assert cells(done.stdout, "folder / plain loop, rates")[0] > 0


def test_trees_prints_what_both_take_and_the_ratios(monkeypatch, tiny_style, tmp_path):
    trees, cost, sources, style = module("trees"), module("video_memory").Cost, [], tiny_style()

    def converted(command, PYTHONPATH):  # noqa: N803
        """Run the command in this process, and claim that it took as many seconds as there are."""
        assert command[:3] == [sys.executable, "-m", "toonbox"]
        with pytest.raises(SystemExit) as ended:
            toonbox(command[3:])
        assert not ended.value.code
        sources.append(PYTHONPATH)
        return cost(len(sources), 2 * len(sources), len(sources) * 10**7)

    monkeypatch.setattr(module("folder"), "SIZE", (400, 300))
    monkeypatch.setattr(trees, "find_style", lambda _: style)
    monkeypatch.setattr(trees, "cost_of", converted)
    done = run("trees.py", f"{tmp_path} --repeats 1 --photos 2 --frames 4")
    assert done.returncode == 0, done.stderr
    assert sources == [str(tree / "src") for tree in (tmp_path, BENCHMARKS.parent)] * 6
    tasks = "a photo of 1280 x 720", "2 photos of 400 x 300", "a video of 4 frames"
    for number, task in enumerate(tasks):
        before, after = 4 * number + 3, 4 * number + 4  # after the two that warm up
        ratio = pytest.approx(after / before, abs=0.005)
        for unit, factor in (("seconds", 1), ("seconds of the processor", 2), ("MB at most", 10)):
            found = cells(done.stdout, f"{task:28}{unit:26}")
            assert found == [before * factor, after * factor, ratio]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks into /proc")
@pytest.mark.slow
def test_memory_is_looked_up_twice():
    done = run("memory.py", "--early 3 --late 9 --engine onnxruntime")
    assert done.returncode == 0, done.stderr
    early, late = re.findall(r"files? ([\d.]+) MiB|9 ([\d.]+) MiB", done.stdout)
    sizes = float(early[0]), float(late[1])
    assert min(sizes) > 50
    assert cells(done.stdout, "memory after 9 files / after 3")[0] == pytest.approx(
        sizes[1] / sizes[0], abs=0.01
    )


@pytest.fixture
def together(monkeypatch):
    """`python -m benchmarks`, in this process."""
    monkeypatch.syspath_prepend(str(BENCHMARKS.parent))
    module = importlib.import_module("benchmarks.__main__")
    monkeypatch.setattr(module, "BENCHMARKS", {"memory": ("--early 300 --late 1", EARLY_AND_LATE)})
    return module


@pytest.mark.slow
def test_all_benchmarks_are_kept_and_compared(together, tmp_path, capsys):
    kept = tmp_path / "kept.json"
    assert together.main(["--quick", "--output", str(kept)]) == 0
    assert "memory after 4 files / after 2" in capsys.readouterr().out
    written = json.loads(kept.read_text())
    (ratio,) = written["ratios"].values()
    assert ratio["value"] > 0
    assert ratio["at_most"] == 1.05
    ratio["value"] /= 2  # so much less memory did it take before
    kept.write_text(json.dumps(written))
    assert together.main(["--quick", "--against", str(kept)]) == 1
    assert "memory after 4 files / after 2: " in capsys.readouterr().out


def test_a_ratio_is_worse_in_the_direction_that_is_not_wanted(together):
    fast, lean = together.Ratio("fast", 8.0, at_least=10), together.Ratio("lean", 1.2, at_most=1.1)
    seen = together.Ratio("seen", 1.0)
    assert (fast.reached, lean.reached, seen.reached) == (False, False, True)
    before = {"fast": 10.0, "lean": 1.0, "seen": 9.0}
    assert together.regressions([fast, lean, seen], before) == [
        "fast: 10.000 -> 8.000", "lean: 1.000 -> 1.200"
    ]  # fmt: skip
    assert together.regressions([fast, lean], {"fast": 7.0, "lean": 1.3}) == []


@pytest.fixture
def page_in_chromium():
    """Skip what needs the page, where it or a browser is missing."""
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs Chromium: apt-get install chromium, or Google Chrome")
    if not (FOLDER / RUNTIME).is_file():
        pytest.skip(f"needs npm ci --prefix {FOLDER}")


@pytest.mark.usefixtures("page_in_chromium")
@pytest.mark.slow
def test_the_browser_is_timed_against_python():
    done = run_apart("browser.py", "--megapixels 0.05 --resolution 64 --repeats 1")
    assert done.returncode == 0, done.stderr
    assert "0.05 megapixels, comic-fast" in done.stdout
    for stage in ("network", "all"):
        numbers = cells(done.stdout, stage)
        assert len(numbers) in (3, 6)  # on one thread, and on all where there are more
        assert min(numbers) > 0
    assert "a preview of 192 pixels" in done.stdout


@pytest.mark.usefixtures("page_in_chromium")
@pytest.mark.slow
def test_the_camera_of_the_page_is_timed():
    done = run_apart("browser_camera.py", "--seconds 0.2 --repeats 1 --resolution 128")
    assert done.returncode == 0, done.stderr
    assert re.search(r"as it chooses: [\d.]+ frames a second; .* at \d+ px", done.stdout)
    assert min(cells(done.stdout, f"{128:8}")) > 0
