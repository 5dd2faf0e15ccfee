"""What runs a network: ONNX Runtime on the CPU, OpenVINO or CUDA where they are there."""

import os
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, Self

import numpy as np

from toonbox.engine.network_file import read_network
from toonbox.errors import MissingExtraError, StyleError, UsageError
from toonbox.pixels import FloatArray

ENGINES = ("auto", "onnxruntime", "openvino", "cuda")


class Session(Protocol):
    """A network ready to run; safe to share between threads."""

    @property
    def name(self) -> str:
        """Of the engine."""
        ...

    @property
    def takes_knobs(self) -> bool:
        """Say whether the network has a second input, `knobs`."""
        ...

    def run(self, photo: FloatArray, knobs: FloatArray | None = None) -> FloatArray:
        """Run the network.

        Args:
            photo: (N, 3, H, W) RGB in [-1, 1].
            knobs: (1, K), for a network that takes them and only for such.
        Returns:
            (N, 3, H, W) RGB in [-1, 1].
        Raises:
            StyleError: the network fails, be it because H or W break the style's size rule.
        """
        ...

    def shared(self, runs: int) -> Self:
        """Give one that does so many runs at a time, each with its share of the threads."""
        ...


def open_session(model: Path, engine: str = "auto", threads: int | None = None) -> Session:
    """Load a network.

    Args:
        model: ONNX file with input `photo`, or `photo` and `knobs`, and output `cartoon`.
        engine: `onnxruntime`, `openvino`, `cuda`, or `auto`: CUDA where ONNX Runtime offers it,
            else OpenVINO where it is installed, else ONNX Runtime on the CPU.
        threads: to compute with; None takes one for each core this process may use.
    Raises:
        UsageError: no such engine, or less than one thread.
        MissingExtraError: the engine is not installed; says what to install.
        StyleError: the file cannot be loaded.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    threads = available_processors() if threads is None else threads
    if threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    chosen = _best_engine() if engine == "auto" else engine
    if chosen == "openvino":
        return OpenVinoSession(model, threads)
    session = OnnxRuntimeSession(model, threads, cuda=chosen == "cuda")
    if engine == "cuda" and session.name != "cuda":
        raise MissingExtraError("CUDA does not load: pip install 'onnxruntime-gpu[cuda,cudnn]'")
    return session


def _best_engine() -> str:
    if _cuda_offered():
        return "cuda"
    return "openvino" if find_spec("openvino") else "onnxruntime"


def _cuda_offered() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def available_processors() -> int:
    """Count the cores this process may use, two threads of one core once where Linux says so."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(processor) for processor in os.sched_getaffinity(0)})


def _siblings(processor: int) -> str:
    file = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return file.read_text() if file.exists() else str(processor)


def _takes_knobs(model: Path, inputs: list[str], outputs: list[str]) -> bool:
    """Tell by the names of a network's ends which of the two kinds it is; refuse any other."""
    if inputs not in (["photo"], ["photo", "knobs"]) or outputs != ["cartoon"]:
        raise StyleError(
            f"{model}: its inputs should be 'photo', or 'photo' and 'knobs', its output 'cartoon'"
        )
    return len(inputs) == 2


def _refuse_other_types(model: Path, types: set[str], wanted: str) -> None:
    if types != {wanted}:
        raise StyleError(f"{model}: its inputs and its output should be tensors of float32")


def _feed(
    session: Session, model: Path, photo: FloatArray, knobs: FloatArray | None
) -> dict[str, FloatArray]:
    """Name the inputs; OpenVINO would make up one that is missing."""
    if session.takes_knobs != (knobs is not None):
        raise StyleError(f"{model}: takes {'knobs' if session.takes_knobs else 'no knobs'}")
    return {"photo": photo} if knobs is None else {"photo": photo, "knobs": knobs}


class _Sharing:
    """Loads its network once more for each number of runs at a time, when it is first wanted."""

    def __init__(self, model: Path, threads: int, runs: int) -> None:
        self._path, self._threads = model, threads
        self._more: dict[int, Self] = {}
        self._lock, self._runs = Lock(), runs

    def shared(self, runs: int) -> Self:
        """As `Session.shared`."""
        runs = min(runs, self._threads)
        if runs == self._runs:
            return self
        with self._lock:
            if runs not in self._more:
                self._more[runs] = type(self)(self._path, self._threads, runs)
            return self._more[runs]


class OnnxRuntimeSession(_Sharing):
    """A network in ONNX Runtime, on the CPU or with CUDA."""

    def __init__(self, model: Path, threads: int, runs: int = 1, cuda: bool = False) -> None:
        import onnxruntime

        super().__init__(model, threads, runs)
        if cuda and not _cuda_offered():
            raise MissingExtraError("CUDA needs: pip install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads // runs
        options.log_severity_level = 4
        # Planned memory is kept beside what was taken before: twice as much, and no faster.
        options.enable_mem_pattern = False
        # Waiting threads would take the processors from whoever decodes the next picture.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Else it would take bytes for its other format, unchecked, where they look like that.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        providers = ["CUDAExecutionProvider"] if cuda else []
        try:
            # From bytes: a path of other than the system's encoding is no problem then.
            self._session = onnxruntime.InferenceSession(
                read_network(model),
                options,
                providers=[*providers, "CPUExecutionProvider"],
                enable_fallback=cuda,  # it would print on standard output what it falls back from
            )
            ends = self._session.get_inputs(), self._session.get_outputs()
            inputs, outputs = ([end.name for end in side] for side in ends)
        except _onnxruntime_errors() as error:
            raise StyleError(f"{model}: not a network that ONNX Runtime reads: {error}") from error
        self.takes_knobs = _takes_knobs(model, inputs, outputs)
        _refuse_other_types(model, {end.type for side in ends for end in side}, "tensor(float)")
        # Without its libraries CUDA is offered all the same, and then left out silently.
        in_use = self._session.get_providers()
        self.name = "cuda" if "CUDAExecutionProvider" in in_use else "onnxruntime"

    def run(self, photo: FloatArray, knobs: FloatArray | None = None) -> FloatArray:
        """As `Session.run`."""
        feed = _feed(self, self._path, photo, knobs)
        try:
            (cartoon,) = self._session.run(["cartoon"], feed)
        except _onnxruntime_errors() as error:
            raise StyleError(f"{self._path}: fails on {photo.shape}: {error}") from error
        result: FloatArray = np.asarray(cartoon, dtype=np.float32)
        return result

    def shared(self, runs: int) -> Self:
        """As `Session.shared`; a GPU does runs one after the other, with all it has."""
        return self if self.name == "cuda" else super().shared(runs)


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Give all of them: ONNX Runtime has no class above its own, and quotes names in any bytes."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    things = vars(state).values()
    own = (t for t in things if isinstance(t, type) and issubclass(t, Exception))
    return *own, UnicodeDecodeError


# OpenVINO's first array sets up its way to NumPy; two threads at once would wait for each other for
# ever, one with Python's lock and one for it. So the first is made here, by one thread.
_first_use = Lock()
_OPENVINO_ERRORS = (RuntimeError, UnicodeDecodeError)  # the second: of names that are no UTF-8


class OpenVinoSession(_Sharing):
    """A network in OpenVINO, on the CPU, in float32."""

    name = "openvino"

    def __init__(self, model: Path, threads: int, runs: int = 1) -> None:
        if find_spec("openvino") is None:
            raise MissingExtraError("OpenVINO is not installed: pip install 'toonbox[openvino]'")
        import openvino

        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": runs,
            # What it has compiled for a picture's size it keeps: for thousands unless told.
            "CPU_RUNTIME_CACHE_CAPACITY": 100,
        }
        super().__init__(model, threads, runs)
        with _first_use:
            openvino.Tensor(np.zeros(1, np.float32)).data  # noqa: B018
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(read_network(model)), "CPU", settings)
            # An end may have several names; only ours matter.
            ours = {"photo", "knobs", "cartoon"}
            ends = self._model.inputs, self._model.outputs
            inputs, outputs = (["".join(end.names & ours) for end in side] for side in ends)
        except _OPENVINO_ERRORS as error:
            raise StyleError(f"{model}: not a network that OpenVINO reads: {error}") from error
        self.takes_knobs = _takes_knobs(model, inputs, outputs)
        types = {end.get_element_type().get_type_name() for side in ends for end in side}
        _refuse_other_types(model, types, "f32")

    def run(self, photo: FloatArray, knobs: FloatArray | None = None) -> FloatArray:
        """As `Session.run`."""
        feed = _feed(self, self._path, photo, knobs)
        # A request of its own for each call: requests are not safe to share between threads.
        request = self._model.create_infer_request()
        try:
            request.infer(feed)
        except _OPENVINO_ERRORS as error:
            raise StyleError(f"{self._path}: fails on {photo.shape}: {error}") from error
        result: FloatArray = np.array(request.get_tensor("cartoon").data, dtype=np.float32)
        if not result.size:  # what a failure looks like with one thread
            raise StyleError(f"{self._path}: fails on {photo.shape}")
        return result
