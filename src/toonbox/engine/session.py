"""What runs a network: ONNX Runtime on the CPU, OpenVINO or CUDA where they are there."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from toonbox.errors import MissingExtraError, StyleError, UsageError
from toonbox.pixels import FloatArray

ENGINES = ("auto", "onnxruntime", "openvino", "cuda")


class Session(Protocol):
    """A network ready to run; safe to share between threads."""

    @property
    def name(self) -> str:
        """Of the engine."""
        ...

    def run(self, photo: FloatArray) -> FloatArray:
        """(N, 3, H, W) RGB in [-1, 1] -> the same; H and W obey the style's size rule."""
        ...


def open_session(model: Path, engine: str = "auto", threads: int | None = None) -> Session:
    """Load a network.

    Args:
        model: ONNX file with input `photo` and output `cartoon`.
        engine: `onnxruntime`, `openvino`, `cuda`, or `auto`: CUDA where ONNX Runtime offers it,
            else OpenVINO where it is installed, else ONNX Runtime on the CPU.
        threads: to compute with; None takes all this process may use.
    Raises:
        UsageError: no such engine.
        MissingExtraError: the engine is not installed; says what to install.
        StyleError: the file cannot be loaded.
    """
    if engine not in ENGINES:
        raise UsageError(f"no engine {engine!r}; there are {', '.join(ENGINES)}")
    if engine == "auto":
        engine = _best_engine()
    threads = threads or available_processors()
    if engine == "openvino":
        return OpenVinoSession(model, threads)
    return OnnxRuntimeSession(model, threads, cuda=engine == "cuda")


def _best_engine() -> str:
    if _cuda_offered():
        return "cuda"
    return "openvino" if find_spec("openvino") else "onnxruntime"


def _cuda_offered() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def available_processors() -> int:
    """Count the processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class OnnxRuntimeSession:
    """A network in ONNX Runtime, on the CPU or with CUDA."""

    def __init__(self, model: Path, threads: int, cuda: bool = False) -> None:
        import onnxruntime

        if cuda and not _cuda_offered():
            raise MissingExtraError("CUDA needs: pip install onnxruntime-gpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        providers = ["CUDAExecutionProvider"] if cuda else []
        try:
            # From bytes: a path of other than the system's encoding is no problem then.
            self._session = onnxruntime.InferenceSession(
                model.read_bytes(), options, providers=[*providers, "CPUExecutionProvider"]
            )
        except OSError as error:
            raise StyleError(f"{model}: {error.strerror}") from error
        except _onnxruntime_errors() as error:
            raise StyleError(f"{model}: not a network that ONNX Runtime reads: {error}") from error
        self.name = "cuda" if cuda else "onnxruntime"

    def run(self, photo: FloatArray) -> FloatArray:
        """As `Session.run`."""
        (cartoon,) = self._session.run(["cartoon"], {"photo": photo})
        result: FloatArray = np.asarray(cartoon, dtype=np.float32)
        return result


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (state.Fail, state.InvalidArgument, state.InvalidProtobuf, state.InvalidGraph,
            state.NoSuchFile, state.NotImplemented)  # fmt: skip


class OpenVinoSession:
    """A network in OpenVINO, on the CPU, in float32."""

    name = "openvino"

    def __init__(self, model: Path, threads: int) -> None:
        if find_spec("openvino") is None:
            raise MissingExtraError("OpenVINO is not installed: pip install 'toonbox[openvino]'")
        import openvino

        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(model.read_bytes()), "CPU", settings)
        except OSError as error:
            raise StyleError(f"{model}: {error.strerror}") from error
        except RuntimeError as error:
            raise StyleError(f"{model}: not a network that OpenVINO reads: {error}") from error

    def run(self, photo: FloatArray) -> FloatArray:
        """As `Session.run`."""
        # A request of its own for each call: requests are not safe to share between threads.
        request = self._model.create_infer_request()
        request.infer({"photo": photo})
        result: FloatArray = np.array(request.get_output_tensor(0).data, dtype=np.float32)
        return result
