import hashlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from toonbox.engine.style import Card, write_card
from toonbox.parallel import failing_alone

WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []

if WORKERS:  # side by side: one core for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# These measure memory, kill processes or start clusters: one after the other, in one worker.
ALONE = (
    *("test_memory", "test_video_memory_benchmark", "test_ray", "test_nothing_sent"),
    *("test_hostile", "test_drawings", "test_isolated", "test_loop", "test_signals"),
)

TinyStyle = Callable[..., Path]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a job in the background ignores Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


def tiny_network(seed: int = 0, knobs: int = 0) -> onnx.ModelProto:
    """photo + what three convolutions of stride 2, an enlargement and a convolution add, clipped.

    Sides that are no multiples of 8 fail in its last addition. Each of `knobs` (at most three)
    weighs one more convolution of the photo, added to one channel: the first to red.
    """
    random = np.random.default_rng(seed)
    nodes, weights, value = [], [], "photo"
    for index, (inputs, outputs, stride) in enumerate([(3, 4, 2), (4, 4, 2), (4, 4, 2)]):
        kernel = random.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{index}"))
        nodes.append(
            helper.make_node(
                "Conv", [value, f"w{index}"], [f"c{index}"],
                strides=[stride, stride], pads=[1, 1, 1, 1],
            )
        )  # fmt: skip
        nodes.append(helper.make_node("LeakyRelu", [f"c{index}"], [f"a{index}"], alpha=0.2))
        value = f"a{index}"
    scales = np.array([1, 1, 8, 8], np.float32)
    weights.append(numpy_helper.from_array(scales, "scales"))
    head = random.normal(0, 0.1, (3, 4, 3, 3)).astype(np.float32)
    weights.append(numpy_helper.from_array(head, "head"))
    nodes += [
        helper.make_node("Resize", [value, "", "scales"], ["large"], mode="linear"),
        helper.make_node("Conv", ["large", "head"], ["added"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["photo", "added"], ["sum0"]),
    ]
    for index in range(knobs):
        kernel = np.zeros((3, 3, 3, 3), np.float32)
        kernel[index] = random.normal(0, 0.1, (3, 3, 3))
        weights.append(numpy_helper.from_array(kernel, f"knob{index}"))
        weights.append(numpy_helper.from_array(np.array([index]), f"place{index}"))
        nodes += [
            helper.make_node("Conv", ["photo", f"knob{index}"], [f"k{index}"], pads=[1, 1, 1, 1]),
            helper.make_node("Gather", ["knobs", f"place{index}"], [f"weight{index}"], axis=1),
            helper.make_node("Mul", [f"k{index}", f"weight{index}"], [f"more{index}"]),
            helper.make_node("Add", [f"sum{index}", f"more{index}"], [f"sum{index + 1}"]),
        ]
    nodes += [
        helper.make_node("Max", [f"sum{knobs}", "low"], ["lifted"]),
        helper.make_node("Min", ["lifted", "high"], ["cartoon"]),
    ]
    for name, bound in (("low", -1.0), ("high", 1.0)):
        weights.append(numpy_helper.from_array(np.float32(bound), name))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"])
        for name in ("photo", "cartoon")
    ]
    inputs = ends[:1]
    if knobs:
        inputs.append(helper.make_tensor_value_info("knobs", TensorProto.FLOAT, [1, knobs]))
    graph = helper.make_graph(nodes, "tiny", inputs, ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def write_tiny_style() -> TinyStyle:
    """Write style folders of a small seeded network: write_tiny_style(name, seed, to, **card).

    The network takes as many knobs as the card names, unless `network_knobs` says otherwise.
    """

    def write(
        name: str,
        seed: int,
        to: Path,
        knobs: tuple[str, ...] = (),
        network_knobs: int | None = None,
        **card: object,
    ) -> Path:
        folder = to / name
        folder.mkdir(parents=True)
        count = len(knobs) if network_knobs is None else network_knobs
        data = tiny_network(seed, count).SerializeToString()
        (folder / "style.onnx").write_bytes(data)
        Image.new("RGB", (8, 8)).save(folder / "preview.png")
        values: dict[str, object] = {
            "name": name,
            "version": "1.0",
            "description": "A tiny seeded network",
            "size_multiple": 8,
            "working_resolution": 64,
            "licence": "Apache-2.0",
            "data": "none",
            "config_sha256": "",
            "onnx_sha256": hashlib.sha256(data).hexdigest(),
            "knobs": knobs,
        }
        write_card(Card(**{**values, **card}), folder)  # type: ignore[arg-type]
        return folder

    return write


@pytest.fixture
def tiny_style(tmp_path: Path, write_tiny_style: TinyStyle) -> TinyStyle:
    """Write them for one test: tiny_style(name="tiny", seed=0, to=None, **card)."""

    def make(name: str = "tiny", seed: int = 0, to: Path | None = None, **card: object) -> Path:
        return write_tiny_style(name, seed, to or tmp_path / "styles", **card)

    return make


@pytest.fixture(autouse=True)
def usual_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide OpenVINO, which takes longer to load a network, from rooms of which it is no subject.

    Other processes still find it: where they draw what is compared, this one has to find it, too.
    """
    rooms = ("cli", "convert", "evaluate", "serve", "video")
    compared = ("test_ray", "test_isolated", "test_a_video", "test_pictures_become_a_zip")
    seen = request.path.stem in compared or request.node.originalname in compared
    if request.path.parent.name in rooms and not seen and "openvino" not in request.node.name:
        monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture(scope="module")
def unmeasured() -> Iterator[None]:
    """Start processes without coverage, where tests in this process measure the same lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture
def isolated_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what has one of its own otherwise, where that is no subject."""

    def here(name: str, work: Any, *arguments: Any, progress: Any, stop: Any, **_: Any) -> Any:
        with failing_alone(name):
            return work(*arguments, progress=progress, stop=stop)

    for module in ("isolated", "pipeline"):
        monkeypatch.setattr(f"toonbox.video.{module}.run_isolated", here)


@pytest.fixture
def locked_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody list folders called "locked"; root, who may run the tests, could."""
    real = Path.iterdir

    def locked(path: Path) -> Iterator[Path]:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "iterdir", locked)


def group_of(file: str) -> str:
    """Name the group of a file's tests: one worker runs them all.

    What a file makes once is thus made once, and not by each worker.
    """
    stem = Path(file).stem
    return "alone" if stem in ALONE else stem


def own_core(item: pytest.Item) -> bool:
    """Tell whether a test keeps to one core, where there are as many workers as cores.

    Threads that change between cores take a quarter more. Browsers have processes of their own, and
    what is measured depends on the number of cores.
    """
    apart = item.path.parent.name == "page" or group_of(item.path.name) == "alone"
    return 1 < len(CORES) <= WORKERS and not apart


@pytest.fixture(autouse=True)
def usual_cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep to this worker's core, and start as many threads as on all of them."""
    if own_core(request.node):
        number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
        os.sched_setaffinity(0, {CORES[number % len(CORES)]})
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*CORES})
    elif CORES:
        os.sched_setaffinity(0, CORES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups of many slow tests: at the end, others would wait for one of them."""
    slow = Counter(group_of(item.path.name) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[group_of(item.path.name)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give groups to workers; those of `--dist loadgroup` come apart with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.partition("::")[0])

    return Groups(config, log)
