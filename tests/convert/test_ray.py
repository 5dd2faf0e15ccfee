"""On a local cluster of two workers; Ray takes its time to start."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_files import OddError, file_of
from ray_settings import PATIENT_RAY
from toonbox.convert import ray as distributed
from toonbox.convert.job import Job
from toonbox.engine.style import load_style
from toonbox.errors import MissingExtraError, ToonboxError, UnexpectedError, UsageError
from toonbox.images.picture import decode
from toonbox.options import StyleOptions

os.environ.update(PATIENT_RAY)  # read when it is imported
ray = pytest.importorskip("ray", reason="the extra ray is not installed")
ray_data = pytest.importorskip("ray.data")


def photos(folder, count, size=(80, 60)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        random = np.random.default_rng(number)
        rgb = random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def cluster():
    distributed.start_ray()
    yield
    ray.shutdown()


@pytest.fixture
def style_folder(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


@pytest.mark.slow
def test_one_place_of_a_storage_into_another(cluster, style_folder, tmp_path):
    photos(tmp_path / "in" / "x", 2)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    places = [(tmp_path / name).as_uri() for name in ("in", "out")]
    rows = list(distributed.cartoonize_storage(*places, style_folder))
    told = {row["target"].removeprefix(places[1]): row["status"] for row in rows}
    assert told == {"/bad.toon.jpg": "failed", "/x/00.toon.png": "ok", "/x/01.toon.png": "ok"}
    assert decode(tmp_path / "out" / "x" / "01.toon.png").rgb.shape == (60, 80, 3)
    (again,) = distributed.cartoonize_storage(*places, style_folder)
    assert again["error"].endswith("/bad.jpg: is empty")


class Poisoned(distributed._Worker):
    """One picture ends whatever worker gets it."""

    def __call__(self, row):
        if row["source"].endswith("01.png"):
            os.abort()
        return super().__call__(row)


@pytest.mark.slow
def test_a_picture_that_ends_its_workers_is_a_failure(cluster, style_folder, tmp_path, monkeypatch):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(distributed, "_Worker", Poisoned)
    paths = photos(tmp_path / "in", 5)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "04.png").write_bytes(b"mine")
    jobs = [Job(path, tmp_path / "out" / path.name) for path in paths]
    outcomes = {one.source.name: one for one in distributed.convert_on_ray(jobs, style_folder)}
    assert len(outcomes) == 5
    statuses = [outcomes[f"{number:02}.png"].status for number in range(5)]
    assert (statuses[1], statuses[4]) == ("failed", "failed")
    # What an ended worker had written and not told yet was found by the next one.
    assert {statuses[0], statuses[2], statuses[3]} <= {"ok", "skipped"}
    for number in (0, 2, 3):
        assert decode(tmp_path / "out" / f"{number:02}.png").rgb.shape == (60, 80, 3)
    assert "the worker that had it ended, 3 times" in str(outcomes["01.png"].error)
    assert "exists already" in str(outcomes["04.png"].error)
    assert (tmp_path / "out" / "04.png").read_bytes() == b"mine"


@pytest.mark.slow
def test_wrong_options_are_told_before_anything_is_done(cluster, style_folder, tmp_path):
    job = Job(*photos(tmp_path / "in", 1), tmp_path / "out.png")
    with pytest.raises(UsageError, match="no knob texture"):
        list(distributed.convert_on_ray([job], style_folder, StyleOptions(texture=1)))


def descendants(ancestor):
    """Find the processes below one, by /proc."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # ended in the meantime
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = {ancestor}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def workers_of(process):
    named = {}
    for number in descendants(process.pid):
        try:
            named[number] = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
    # What a worker itself starts has its name too, and stays in its group.
    groups = {number: os.getpgid(number) for number, name in named.items() if b"(_Worker" in name}
    return [number for number, group in groups.items() if number == group]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the workers by /proc")
def test_a_worker_killed_on_the_way_loses_and_doubles_nothing(style_folder, tmp_path):
    paths = photos(tmp_path / "in", 60, size=(700, 500))
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    command = [sys.executable, "-m", "toonbox", "in", "-o", "out", "--engine", "ray", "--json"]
    process = subprocess.Popen(
        [*command, "--style", str(style_folder), "--jobs", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        workers = workers_of(process)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        lines += process.stdout.readlines()
        errors = process.stderr.read()
        assert process.wait(3600) == 1, errors
    finally:
        process.terminate()
    told = [json.loads(line) for line in lines]
    assert sorted(Path(one["input"]).name for one in told) == [
        *(path.name for path in paths),
        "bad.png",
    ]
    assert [one["input"] for one in told if one["status"] == "failed"] == ["in/bad.png"]
    # What the killed worker had written and not told yet was found by the next one.
    assert sum(one["status"] == "skipped" for one in told) <= 2
    assert "toonbox: in/bad.png: is empty" in errors
    style = load_style(style_folder)
    for path in paths:
        written = decode(tmp_path / "out" / f"{path.stem}.toon.png").rgb
        np.testing.assert_array_equal(written, style(decode(path).rgb))
    again = subprocess.run(
        [*command, "--style", str(style_folder)], cwd=tmp_path, capture_output=True, text=True
    )
    assert "0 done, 60 skipped, 1 failed" in again.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name for name in names if not name.startswith(".")] == names[-60:]


def worker(style_folder):
    """What runs in another process otherwise."""
    return distributed._Worker(str(style_folder), 1, None, None)


def test_what_becomes_of_files(style_folder, tmp_path):
    (path,) = photos(tmp_path / "in", 1)
    row = distributed._row(path, tmp_path / "out.png", False)
    work = worker(style_folder)
    assert work({**row, "from": str(tmp_path / "gone.png")})["status"] == "failed"
    done = work(row)
    assert (done["status"], done["width"], done["height"], done["error"]) == ("ok", 80, 60, "")
    assert done["seconds"] > 0
    (tmp_path / "out.png").write_bytes(b"mine")
    assert work(row)["status"] == "skipped"
    assert (tmp_path / "out.png").read_bytes() == b"mine"
    assert work({**row, "overwrite": True})["status"] == "ok"
    expected = load_style(style_folder)(decode(path).rgb)
    np.testing.assert_array_equal(decode(tmp_path / "out.png").rgb, expected)


def test_an_unexpected_error_is_a_failure_with_its_traceback(style_folder, tmp_path, monkeypatch):
    def odd(*_, **__):
        raise OddError("odd")

    monkeypatch.setattr("toonbox.convert.job.encode", odd)
    (path,) = photos(tmp_path / "in", 1)
    done = worker(style_folder)(distributed._row(path, tmp_path / "out.png", False))
    assert (done["status"], done["error"]) == ("failed", f"{path}: unexpected OddError: odd")
    assert "in _convert" in done["traceback"]
    error = distributed._error(done)
    assert isinstance(error, UnexpectedError)
    assert "in _convert" in error.__notes__[0]


@pytest.mark.slow
def test_a_cluster_runs_for_as_long_as_it_is_needed(capsys):
    with distributed.running():
        assert ray.is_initialized()
        print("Ray tells of a worker")
    assert not ray.is_initialized()
    assert "Ray tells of a worker" not in capsys.readouterr().out


class Starts:
    """`ray.init` on a machine that is busy for some time."""

    def __init__(self, failures, reason):
        self.left, self.reason, self.told = failures, reason, []

    def __call__(self, *arguments, **options):
        self.told.append((arguments, options))
        if len(self.told) <= self.left:
            raise Exception(f"The current node {self.reason}.")


def test_a_cluster_that_does_not_start_in_time_is_started_again(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    late = "timed out during startup"
    for init, starts in ((Starts(0, late), 1), (Starts(3, late), 4)):
        monkeypatch.setattr(ray, "init", init)
        distributed.start_ray()
        assert len(init.told) == starts
        assert init.told[0][0] == ("local",)
    monkeypatch.setattr(ray, "init", Starts(99, late))
    with pytest.raises(ToonboxError, match="no Ray cluster at this machine: Ray does not start"):
        distributed.start_ray()
    monkeypatch.setattr(ray, "init", Starts(99, "is odd"))
    with pytest.raises(Exception, match="is odd"):
        distributed.start_ray()


@pytest.mark.parametrize("chosen", [{}, {"cluster": "1"}, {"cluster": "0"}, {"usage": "1"}])
def test_what_a_cluster_on_this_machine_is_told(chosen, monkeypatch):
    from ray._private import ray_constants
    from ray._private.node import Node

    cluster, usage = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "RAY_USAGE_STATS_ENABLED"
    monkeypatch.delenv(cluster, raising=False)
    monkeypatch.setenv(usage, "0")
    for name, value in chosen.items():
        monkeypatch.setenv({"cluster": cluster, "usage": usage}[name], value)
    before = dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER, Node.start_api_server
    with distributed._within_this_machine():
        assert os.environ[cluster] == chosen.get("cluster", "0")
        assert ray_constants.ENABLE_RAY_CLUSTER is ("cluster" in chosen and before[1])
        assert (Node.start_api_server is before[2]) == ("usage" in chosen)
    assert (dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER, Node.start_api_server) == before


def test_without_the_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MissingExtraError, match=r"toonbox\[ray\]"):
        distributed.start_ray()


def test_a_storage_that_is_not_a_disk(tmp_path, monkeypatch):
    from pyarrow import fs

    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(distributed, "_storage", lambda place: (store, place.partition("://")[2]))
    data = file_of(Image.new("RGB", (2, 2)))
    assert not distributed._exists("s3://a.png")
    distributed._write("s3://a.png", data)
    assert distributed._exists("s3://a.png")
    assert distributed._read("s3://a.png") == (Path("s3://a.png"), data)
    assert (tmp_path / "a.png").read_bytes() == data
