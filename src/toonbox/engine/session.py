"""What runs a network: ONNX Runtime on the CPU, OpenVINO or CUDA where they are there."""

import ctypes
import hashlib
import os
import platform
import sys
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, Self, get_args

import numpy as np

from toonbox.atomic import read_within
from toonbox.errors import MissingExtraError, StyleError, ToonboxError, UsageError
from toonbox.options import Engine, Precision
from toonbox.parallel import available_processors
from toonbox.pixels import FloatArray

INT8_RANGES = "int8_ranges"  # in an ONNX file's metadata: lines of a tensor's name, low and high
INT8_WEIGHT = 63  # largest quantised weight: AVX2 adds two products with 8-bit values in 16 bits
Ranges = dict[str, tuple[float, float]]
MAX_BYTES = 256 << 20
MAX_FIELDS = 1_000_000  # the shipped styles have about two thousand

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_ARRAY, _KEPT = 32 << 20, 64 << 20  # bytes: the largest array that is kept, and all together

_VERSION = b"\x08"  # how every writer of ONNX begins; other formats that engines know do not
# What a style has no use for, by the numbers of the fields in ONNX's messages.
_REFUSED: dict[str, dict[int, str]] = {
    "model": {20: "steps of training", 25: "functions"},
    "graph": {15: "sparse tensors"},
    "input": {},
    "node": {},
    "attribute": {
        **dict.fromkeys((6, 11), "graphs within its graph"),
        **dict.fromkeys((22, 23), "sparse tensors"),
    },
    "tensor": dict.fromkeys((13, 14), "data outside of its file"),
}
_VARINT, _BYTES, _SIZES = 0, 2, {1: 8, 5: 4}  # the codings of protobuf, of some the bytes
_Fields = dict[int, list[Any]]  # of a message, by number: whole numbers, and all others as bytes


def network_bytes(file: Path, sha256: str | None = None) -> bytes:
    """Read a network's file as it is; raise StyleError if missing, too large or not of `sha256`."""
    try:
        data = read_within(file, MAX_BYTES)
    except OSError as error:
        raise StyleError(f"{file}: {error.strerror}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise StyleError(f"{file}: damaged, its sha256 is not the card's")
    return data


def read_network(file: Path, sha256: str | None = None) -> bytes:
    """Read an ONNX file, and refuse what could reach beyond it or outgrow it.

    Raises:
        StyleError: as in `network_bytes`; or it is no ONNX; or its network has data in other files,
            graphs within its graph (loops), functions, sparse tensors, or a tensor that claims more
            values than it has bytes for; or its nodes go in a circle: OpenVINO would never end.
    """
    data = network_bytes(file, sha256)
    try:
        _check_model(data)
    except ValueError as error:
        raise StyleError(f"{file}: not a network for a style: {error}") from error
    return data


def _check_model(data: bytes) -> None:
    """Raise ValueError for what `read_network` refuses."""
    if not data.startswith(_VERSION):
        raise ValueError("not an ONNX file")
    left = iter(range(MAX_FIELDS))
    graphs = _fields("model", memoryview(data), left)[7]
    if len(graphs) != 1:
        raise ValueError(f"it has {len(graphs)} graphs")
    graph = _fields("graph", graphs[0], left)
    known = {b""}  # the name of an optional input or output that is not there
    for tensor in graph[5]:
        known.update(_check_tensor(tensor, left)[8])
    for described in graph[11]:
        known.update(_fields("input", described, left)[1])
    for node in (_fields("node", message, left) for message in graph[1]):
        for message in node[5]:
            attribute = _fields("attribute", message, left)
            for tensor in attribute[5] + attribute[10]:
                _check_tensor(tensor, left)
        made = {*node[2]} - {b""}
        # OpenVINO would never end if they went in a circle.
        if not known.issuperset(node[1]) or made & known:
            raise ValueError("its nodes are not in order")
        known |= made


def _check_tensor(message: Any, left: Iterator[int]) -> _Fields:
    """Return the fields of a tensor that has as many values as it claims."""
    tensor, values = _fields("tensor", message, left), 1
    for sides in tensor[1]:
        for side in [sides] if isinstance(sides, int) else _varints(sides):
            values *= max(side, 1)
            # The smallest take two bits each; a negative side is one of 2**63 or more.
            if values > 4 * len(message):
                raise ValueError("a tensor claims more values than it has")
    return tensor


def _fields(kind: str, message: Any, left: Iterator[int]) -> _Fields:
    """Read a message in the format of protobuf; each field takes one of `left`."""
    if isinstance(message, int):
        raise ValueError("damaged")
    fields, place = defaultdict[int, list[Any]](list), 0
    while place < len(message):
        if next(left, None) is None:
            raise ValueError("it has too many parts")
        key, place = _varint(message, place)
        number, coding = key >> 3, key & 7
        if number == 0 or key >= 1 << 32:
            raise ValueError("damaged")
        value: Any
        if coding == _VARINT:
            value, place = _varint(message, place)
        else:
            size = _SIZES.get(coding)
            if coding == _BYTES:
                size, place = _varint(message, place)
            if size is None or place + size > len(message):
                raise ValueError("damaged")
            value = message[place : place + size]
            place += size
        if value != 0 and number in _REFUSED[kind]:
            raise ValueError(f"it has {_REFUSED[kind][number]}")
        fields[number].append(value)
    return fields


def _varints(packed: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packed):
        value, place = _varint(packed, place)
        yield value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Read a whole number of at most ten bytes, seven bits each: it, and the place behind it."""
    value = 0
    for index, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("damaged")


Ends = list[tuple[str, str]]  # names and types of inputs or outputs


class Session(ABC):
    """A network ready to run; safe to share between threads.

    It has the `name` of its engine, the `precision` it computes in, and `threads` for each run; it
    `takes_knobs` if the network has such a second input.
    """

    def __init__(
        self,
        model: Path,
        sha256: str | None,
        name: str,
        threads: int,
        precision: Precision = "float32",
        runs: int = 1,
    ) -> None:
        """Load a network for so many runs at a time, which share the threads."""
        self.name, self.precision, self.threads = name, precision, threads // runs
        self._path, self._sha256, self._threads, self._runs = model, sha256, threads, runs
        self._others: dict[int, Self] = {}
        self._lock = Lock()
        data = read_network(model, sha256)
        with _engine_errors(f"{model}: not a network that {name} reads"):
            ends = self._load(data)
        inputs, outputs = ([name for name, _ in side] for side in ends)
        if inputs not in (["photo"], ["photo", "knobs"]) or outputs != ["cartoon"]:
            what = "its inputs should be 'photo', or 'photo' and 'knobs', its output 'cartoon'"
            raise StyleError(f"{model}: {what}")
        if not {kind for side in ends for _, kind in side} <= {"tensor(float)", "f32"}:
            raise StyleError(f"{model}: its inputs and its output should be tensors of float32")
        self.takes_knobs = len(inputs) == 2

    @abstractmethod
    def _load(self, data: bytes) -> tuple[Ends, Ends]:
        """Load the network; return its inputs and its outputs."""

    @abstractmethod
    def _compute(self, inputs: dict[str, FloatArray]) -> FloatArray:
        """Return the output for inputs by name."""

    def run(self, photo: FloatArray, knobs: FloatArray | None = None) -> FloatArray:
        """Run the network.

        Args:
            photo: (N, 3, H, W) RGB in [-1, 1], quickest as a view of (N, H, W, 3).
            knobs: (1, K), for a network that takes them and only for such.
        Returns:
            (N, 3, H, W) RGB in [-1, 1].
        Raises:
            StyleError: the network fails, be it because H or W break the style's size rule.
        """
        if self.takes_knobs != (knobs is not None):  # OpenVINO would make up one that is missing
            raise StyleError(f"{self._path}: takes {'knobs' if self.takes_knobs else 'no knobs'}")
        with _engine_errors(f"{self._path}: fails on {photo.shape}"):
            return self._compute({"photo": photo} | ({} if knobs is None else {"knobs": knobs}))

    def shared(self, runs: int) -> Self:
        """Return one that does so many runs at a time, each with its share of the threads.

        The network is loaded once more for each such number, when it is first wanted. A GPU does
        runs one after the other, with all it has.
        """
        runs = min(runs, self._threads)
        if runs == self._runs or self.name == "cuda":
            return self
        with self._lock:
            if runs not in self._others:
                self._others[runs] = type(self)(
                    self._path, self._sha256, self.name, self._threads, self.precision, runs
                )
            return self._others[runs]


@contextmanager
def _engine_errors(what: str) -> Iterator[None]:
    """Raise what an engine raises as a StyleError.

    The errors of ONNX Runtime have no class of their own in common, and both engines raise
    UnicodeDecodeError where they quote a name that is no UTF-8.
    """
    try:
        yield
    except (ToonboxError, MemoryError):
        raise
    except Exception as error:
        raise StyleError(f"{what}: {error}") from error


def open_session(
    model: Path,
    engine: str = "auto",
    threads: int | None = None,
    sha256: str | None = None,
    *,
    precision: Precision = "auto",
    single: bool = False,
) -> Session:
    """Load a network; from then on, glibc keeps up to 64 MB of this process's freed memory.

    Args:
        model: ONNX file with input `photo`, or `photo` and `knobs`, and output `cartoon`.
        engine: `onnxruntime`, `openvino`, `cuda`, or `auto`: CUDA where ONNX Runtime offers it,
            else OpenVINO where it is installed and worth its start, else ONNX Runtime on the CPU.
        threads: to compute with; None takes one for each core this process may use.
        sha256: what the file's must be, if it is known.
        precision: what OpenVINO computes with, as in `choose_precision`; the other engines know
            float32 alone.
        single: one picture is all; OpenVINO, which starts slower, would not make up for that.
    Raises:
        UsageError: no such engine or precision, not on this engine, processor or network, or less
            than one thread.
        MissingExtraError: the engine is not installed; says what to install.
        StyleError: the file cannot be loaded.
    """
    if engine not in get_args(Engine):
        raise UsageError(f"no engine {engine!r}; available: {', '.join(get_args(Engine))}")
    if precision not in get_args(Precision):
        raise UsageError(f"no precision {precision!r}; available: {', '.join(get_args(Precision))}")
    threads = available_processors() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    keep_freed_memory()
    low = precision in ("bfloat16", "int8")
    chosen = ("openvino" if low else _best_engine(single)) if engine == "auto" else engine
    if chosen == "openvino":
        if find_spec("openvino") is None:
            raise MissingExtraError("OpenVINO is not installed: pip install 'toonbox[openvino]'")
        return OpenVinoSession(model, sha256, chosen, threads, precision)
    if low:
        raise UsageError(f"{precision} needs the engine openvino, not {chosen}")
    if chosen == "cuda" and not _cuda_offered():
        raise MissingExtraError("CUDA needs: pip install onnxruntime-gpu")
    session = OnnxRuntimeSession(model, sha256, chosen, threads)
    if engine == "cuda" and session.name != "cuda":
        raise MissingExtraError("CUDA does not load: pip install 'onnxruntime-gpu[cuda,cudnn]'")
    return session


@cache
def keep_freed_memory() -> None:
    """Let glibc keep some freed memory for the arrays to come; elsewhere, do nothing.

    Otherwise each array of a picture gets new pages from the system, which take longer to come than
    the array takes to be filled.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, _KEPT_ARRAY)
            mallopt(_M_TRIM_THRESHOLD, _KEPT)


def _best_engine(single: bool = False) -> str:
    if _cuda_offered():
        return "cuda"
    return "openvino" if not single and find_spec("openvino") else "onnxruntime"


def _cuda_offered() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


class OnnxRuntimeSession(Session):
    """A network in ONNX Runtime, on the CPU or with CUDA."""

    def _load(self, data: bytes) -> tuple[Ends, Ends]:
        import onnxruntime

        cuda = self.name == "cuda"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4
        # Planned memory is kept beside what was taken before: twice as much, and no faster.
        options.enable_mem_pattern = False
        # Waiting threads would take the processors from whoever decodes the next picture.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Else it would take bytes for its other format, unchecked, where they look like that.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        self._session = onnxruntime.InferenceSession(
            data,
            options,
            providers=["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"],
            enable_fallback=cuda,  # it would print on standard output what it falls back from
        )
        # Without its libraries CUDA is offered all the same, and then left out silently.
        in_use = self._session.get_providers()
        self.name = "cuda" if "CUDAExecutionProvider" in in_use else "onnxruntime"
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        return [(end.name, end.type) for end in inputs], [(end.name, end.type) for end in outputs]

    def _compute(self, inputs: dict[str, FloatArray]) -> FloatArray:
        (cartoon,) = self._session.run(["cartoon"], inputs)
        return np.asarray(cartoon, np.float32)


_first_use = Lock()


@cache
def _openvino_core() -> Any:
    """Return the process's one core, which lasts as long as that; call it with `_first_use` held.

    With its last network a core gives back the memory on which the thread that made it handles
    signals: if another thread lets go of that network, the next signal ends the process (2026.4).
    """
    import openvino

    # The first array sets up OpenVINO's way to NumPy; two threads at once would wait for each other
    # for ever, one with Python's lock and one for it.
    openvino.Tensor(np.zeros(1, np.float32)).data  # noqa: B018
    return openvino.Core()


def choose_precision(wanted: Precision, capabilities: Collection[str], ranges: bool) -> Precision:
    """Choose what OpenVINO computes with.

    Args:
        wanted: `auto` takes int8 where the network is made for it, else float32. It never takes
            bfloat16, in which small networks are slower than in float32.
        capabilities: what OpenVINO says of the processor.
        ranges: whether the network knows its `INT8_RANGES`.
    Raises:
        UsageError: the processor or the network cannot do what is wanted.
    """
    # On Arm OpenVINO only simulates int8.
    int8 = "INT8" in capabilities and platform.machine().lower() in ("x86_64", "amd64")
    if wanted == "auto":
        return "int8" if int8 and ranges else "float32"
    if not {"bfloat16": "BF16" in capabilities, "int8": int8}.get(wanted, True):
        raise UsageError(f"this processor does not support {wanted}")
    if wanted == "int8" and not ranges:
        raise UsageError("this style was not exported for int8")
    return wanted


def _int8_ranges(model: Path, network: Any) -> Ranges:
    """Read the ranges that an OpenVINO model kept of its ONNX file; there may be none."""
    place = ["framework", INT8_RANGES]
    lines = str(network.get_rt_info(place).value) if network.has_rt_info(place) else ""
    try:
        rows = [line.split() for line in lines.splitlines()]
        ranges = {name: (float(low), float(high)) for name, low, high in rows}
    except ValueError as error:
        raise StyleError(f"{model}: its ranges for int8 cannot be read: {error}") from error
    if not all(-np.inf < low < high < np.inf for low, high in ranges.values()):
        raise StyleError(f"{model}: its ranges for int8 are invalid")
    return ranges


def _quantise(network: Any, ranges: Ranges) -> None:
    """Let convolutions of an OpenVINO model compute in int8: those whose inputs have ranges.

    Weights get a scale for each output channel, and seven bits, up to `INT8_WEIGHT`.
    """
    from openvino import opset13

    def rounded(values: Any, low: Any, high: Any, levels: int) -> Any:
        ends = [np.asarray(end, np.float32) for end in (low, high, low, high)]
        return opset13.fake_quantize(values, *ends, levels).output(0)

    for node in network.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        values, weights = node.input_value(0), node.input_value(1)
        stored = weights.get_node()
        if stored.get_type_name() == "Convert":  # of halves
            stored = stored.input_value(0).get_node()
        names = values.get_names() & ranges.keys()
        if not names or stored.get_type_name() != "Constant":
            continue
        highest = np.abs(stored.get_data().astype(np.float32)).max((1, 2, 3), keepdims=True)
        highest = np.maximum(highest, 1e-6) * (127 / INT8_WEIGHT)
        node.input(0).replace_source_output(rounded(values, *ranges[names.pop()], 256))
        node.input(1).replace_source_output(rounded(weights, -highest, highest, 255))


def _openvino_ends(ends: Any) -> Ends:
    """Describe inputs or outputs; of several names of one, only ours matter."""
    ours = {"photo", "knobs", "cartoon"}
    return [("".join(e.names & ours), e.get_element_type().get_type_name()) for e in ends]


class OpenVinoSession(Session):
    """A network in OpenVINO, on the CPU."""

    def _load(self, data: bytes) -> tuple[Ends, Ends]:
        with _first_use:
            core = _openvino_core()
        from openvino import Layout
        from openvino.preprocess import PrePostProcessor

        network = core.read_model(data)
        ranges = _int8_ranges(self._path, network)
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = choose_precision(self.precision, capabilities, bool(ranges))
        if self.precision == "int8":
            _quantise(network, ranges)
        turned = PrePostProcessor(network)  # takes and gives NHWC, as it computes and pictures are
        for end in (turned.input(0), turned.output(0)):
            end.tensor().set_layout(Layout("NHWC"))
            end.model().set_layout(Layout("NCHW"))
        network = turned.build()
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
            "NUM_STREAMS": self._runs,
            # What it has compiled for a picture's size it keeps: for thousands unless told.
            "CPU_RUNTIME_CACHE_CAPACITY": 100,
        }
        self._compile = partial(core.compile_model, network, "CPU", settings)
        self._requests, self._process = self._new_requests(), os.getpid()
        return _openvino_ends(network.inputs), _openvino_ends(network.outputs)

    def _new_requests(self) -> SimpleQueue[Any]:
        """Compile the network, and make what runs it: one for each run at a time.

        They are used again and again: making one waits for the runs under way.
        """
        model, requests = self._compile(), SimpleQueue[Any]()
        for _ in range(self._runs):
            requests.put(model.create_infer_request())
        return requests

    def _compute(self, inputs: dict[str, FloatArray]) -> FloatArray:
        if self._process != os.getpid():  # forked, without the threads that answer requests
            self._requests, self._process = self._new_requests(), os.getpid()
        requests = self._requests
        request = requests.get()  # no two threads may use one at once
        try:
            return self._infer(request, inputs)
        except (RuntimeError, MemoryError):
            # A network that failed on any picture fails again on those of the size before (2026.4):
            # from now on a new one is used, and one more shows whether this picture is at fault.
            self._requests = self._new_requests()
            return self._infer(self._compile().create_infer_request(), inputs)
        finally:
            requests.put(request)

    @staticmethod
    def _infer(request: Any, inputs: dict[str, FloatArray]) -> FloatArray:
        from openvino import Shape, Tensor, Type

        # Unlike `infer`, this raises errors with one thread, too.
        request.start_async(inputs | {"photo": inputs["photo"].transpose(0, 2, 3, 1)})
        request.wait()
        cartoon = np.array(request.get_tensor("cartoon").data, np.float32)
        # The copy of the photo would stay where large arrays find room to be used again.
        request.set_tensor("photo", Tensor(Type.f32, Shape([1, 0, 0, 3])))
        return cartoon.transpose(0, 3, 1, 2)
