"""What to say when a part that is not installed is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from toonbox.errors import MissingExtraError

OF_THE_TRAIN_EXTRA = frozenset(
    [
        "cv2",
        "lightning_fabric",
        "onnx",
        "onnxscript",
        "pooch",
        "pydantic",
        "rich",
        "safetensors",
        "tensorboard",
        "tomli_w",
        "torch",
    ]
)


@contextmanager
def learning_half() -> Iterator[None]:
    """Turn a missing package of the learning half into advice.

    Raises:
        MissingExtraError: says what to install.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in OF_THE_TRAIN_EXTRA:
            raise
        raise MissingExtraError(
            f"this needs {error.name}, which is not installed: pip install 'toonbox[train]'"
        ) from error
