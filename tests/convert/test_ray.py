"""On a local cluster of two workers; Ray takes its time to start."""

import json
import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from picture_files import OddError
from ray_settings import PATIENT_RAY
from toonbox.cli.main import main
from toonbox.convert import ray as distributed
from toonbox.convert.job import Job
from toonbox.engine.style import load_style
from toonbox.errors import MissingExtraError, ToonboxError, UnexpectedError, UsageError
from toonbox.images.picture import decode
from toonbox.options import StyleOptions

os.environ.update(PATIENT_RAY)  # read when it is imported
ray = pytest.importorskip("ray", reason="the extra ray is not installed")
ray_data = pytest.importorskip("ray.data")
pytestmark = pytest.mark.usefixtures("unmeasured")


def photos(folder, count, size=(80, 60)):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        random = np.random.default_rng(number)
        rgb = random.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def style_folder(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


def test_wrong_options_are_told_before_a_cluster_is_started(style_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "start_ray", pytest.fail)
    job = Job(*photos(tmp_path / "in", 1), tmp_path / "out.png")
    with pytest.raises(UsageError, match="no knob texture"):
        list(distributed.convert_on_ray([job], style_folder, StyleOptions(texture=1)))


class Ending(distributed._Worker):
    """01.png ends whatever worker gets it, 03.png the first one, when it has been written."""

    def __call__(self, row):
        job = row["job"]
        if job.source.name == "01.png":
            os.abort()
        done = super().__call__(row)
        if job.source.name == "03.png":
            killed = job.source.parents[1] / "killed"
            if not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return done


@pytest.mark.slow
def test_workers_that_end_lose_and_double_nothing(style_folder, tmp_path, monkeypatch, capsys):
    """By the command, on a cluster that runs for as long as it is needed."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(distributed, "_Worker", Ending)
    monkeypatch.chdir(tmp_path)
    paths = photos(tmp_path / "in", 5)
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "04.toon.png").write_bytes(b"mine")
    options = ("--engine", "ray", "--json", "--jobs", "2", "--style", str(style_folder))
    with pytest.raises(SystemExit) as ended:
        main(["in", "-o", "out", *options])
    output, errors = capsys.readouterr()
    assert ended.value.code == 1, errors
    assert not ray.is_initialized()
    told = [json.loads(line) for line in output.splitlines()]  # nothing of Ray's is among them
    statuses = {Path(one["input"]).name: one["status"] for one in told}
    assert len(told) == len(statuses) == 6
    assert [name for name in sorted(statuses) if statuses[name] == "failed"] == [
        "01.png",
        "bad.png",
    ]
    assert statuses["04.png"] == "skipped"
    # What an ended worker had written and not told yet was found by the next one.
    assert statuses["03.png"] == "skipped"
    assert {statuses["00.png"], statuses["02.png"]} <= {"ok", "skipped"}
    assert "toonbox: in/bad.png: is empty" in errors
    assert "in/01.png: its worker ended unexpectedly, 3 times" in errors
    style = load_style(style_folder)
    for number in (0, 2, 3):
        written = decode(tmp_path / "out" / f"{number:02}.toon.png").rgb
        np.testing.assert_array_equal(written, style(decode(paths[number]).rgb))
    assert (tmp_path / "out" / "04.toon.png").read_bytes() == b"mine"
    names = sorted(path.name for path in (tmp_path / "out").glob("[!.]*"))
    assert names == [f"{number:02}.toon.png" for number in (0, 2, 3, 4)]


def test_what_exists_is_refused_before_a_cluster_is_started(style_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "start_ray", pytest.fail)
    (path,) = photos(tmp_path / "in", 1)
    (tmp_path / "out.png").write_bytes(b"mine")
    (one,) = distributed.convert_on_ray([Job(path, tmp_path / "out.png")], style_folder)
    assert (one.status, "exists already" in str(one.error)) == ("failed", True)
    assert (tmp_path / "out.png").read_bytes() == b"mine"


def worker(style_folder):
    """What runs in another process otherwise."""
    return distributed._Worker(str(style_folder), 1, None, None)


def test_what_becomes_of_files(style_folder, tmp_path):
    (path,) = photos(tmp_path / "in", 1)
    target = tmp_path / "out.png"

    def outcome(source=path, on_existing="refuse"):
        row = distributed._row(7, Job(source, target, on_existing, name="a.png"))
        done = worker(style_folder)(row)
        assert done["number"] == 7
        return done["outcome"]

    gone = outcome(tmp_path / "gone.png")
    assert (gone.status, str(gone.error)) == ("failed", "a.png: no such file")
    done = outcome()
    assert (done.status, done.size, done.error) == ("ok", (80, 60), None)
    assert done.seconds > 0
    target.write_bytes(b"mine")
    assert outcome().status == "skipped"
    assert target.read_bytes() == b"mine"
    assert outcome(on_existing="overwrite").status == "ok"
    np.testing.assert_array_equal(decode(target).rgb, load_style(style_folder)(decode(path).rgb))


def test_an_unexpected_error_is_a_failure_with_its_traceback(style_folder, tmp_path, monkeypatch):
    def odd(*_, **__):
        raise OddError("odd")

    monkeypatch.setattr("toonbox.convert.job.encode", odd)
    (path,) = photos(tmp_path / "in", 1)
    row = distributed._row(0, Job(path, tmp_path / "out.png"))
    error = pickle.loads(pickle.dumps(worker(style_folder)(row)["outcome"])).error
    assert isinstance(error, UnexpectedError)
    assert str(error) == f"{path}: unexpected OddError: odd"
    assert "in render" in error.__notes__[0]


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
    with pytest.raises(ToonboxError, match="no Ray cluster at this machine: Ray did not start"):
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
