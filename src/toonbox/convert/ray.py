"""Many pictures on one machine or many: a style mapped over a Ray dataset. Needs the extra `ray`.

Each worker is an actor with a session of its own. Ray starts a worker anew that has ended, however
it ended, and gives it its picture again; one that ends its worker every time becomes a failure.
"""

import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from toonbox.atomic import refuse_existing, write_file
from toonbox.convert.job import Converter, Job, Outcome
from toonbox.engine.style import SHIPPED, find_style, load_style
from toonbox.errors import MissingExtraError, PictureError, ToonboxError, UnexpectedError
from toonbox.images.formats import cartoon_below, is_picture
from toonbox.options import DEFAULT_STYLE, OutputOptions, StyleOptions, split_options
from toonbox.parallel import available_processors, failing_alone, without_sigterm

_logger = logging.getLogger(__name__)

_STARTS = 4  # of a cluster here; files that were read are in memory the next time
_TRIES = 3  # of a picture whose worker ends
_BLOCKS = 10_000  # that Ray keeps account of at most; the pictures of one are retried together

Row = dict[str, Any]


def start_ray(address: str | None = None) -> None:
    """Connect to a cluster, or start one on this machine; nothing if that is done already.

    Args:
        address: of a cluster, as `ray.init` takes it; None for one here, until this process ends.
    Raises:
        MissingExtraError: Ray is not installed.
        ToonboxError: there is no cluster at the address, or this machine is too busy to start one.
    """
    try:
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingExtraError("Ray is not installed: pip install 'toonbox[ray]'") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        return
    quiet: Row = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            ray.init(address, **quiet)
        else:
            with _within_this_machine():
                _start_here(**quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise ToonboxError(f"no Ray cluster at {address or 'this machine'}: {error}") from error


def _start_here(**options: Any) -> None:
    """Start a cluster, again if Ray gives up: its agent has 15 seconds, which no setting changes.

    Raises:
        RuntimeError: it gives up each time.
    """
    import ray

    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                "local",
                # One more than workers, see `_finished`: it has little to do.
                num_cpus=available_processors() + 1,
                include_dashboard=False,
                resources={"TPU": 0},  # or it asks Google's cloud about those it finds
                **options,
            )
            return
        except Exception as error:  # Ray raises no other kind
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if not left:
                raise RuntimeError("Ray does not start in time") from error


@contextmanager
def _within_this_machine() -> Iterator[None]:
    """Let a cluster that starts here connect to nothing else; what the user has set stays.

    Ray has a switch for its address, meant for systems where it cannot span machines, and none for
    the process that asks the clouds which of them this machine is in, for reports on usage.
    """
    from ray._private import ray_constants
    from ray._private.node import Node

    loopback = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    many, start_api_server = ray_constants.ENABLE_RAY_CLUSTER, Node.start_api_server
    chosen = loopback in os.environ
    if not chosen:  # else Ray asks for the way to 8.8.8.8, and listens to the network
        os.environ[loopback] = "0"
        ray_constants.ENABLE_RAY_CLUSTER = False
    if os.environ.get("RAY_USAGE_STATS_ENABLED") == "0":
        Node.start_api_server = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        if not chosen:
            del os.environ[loopback]
        ray_constants.ENABLE_RAY_CLUSTER = many
        Node.start_api_server = start_api_server  # type: ignore[method-assign]


@contextmanager
def running(address: str | None = None) -> Iterator[None]:
    """Connect as `start_ray` does, and disconnect afterwards.

    Ray tells on standard output of workers that have ended, at its own end too; within the block
    that goes to standard error.

    Raises:
        MissingExtraError, ToonboxError: as in `start_ray`.
    """
    with redirect_stdout(sys.stderr):
        with without_sigterm():  # as Ray does with Ctrl-C: the workers finish what they have begun
            start_ray(address)
        import ray

        try:
            yield
        finally:
            ray.shutdown()


def convert_on_ray(
    jobs: Iterable[Job],
    style: str | Path = DEFAULT_STYLE,
    options: StyleOptions | None = None,
    output: OutputOptions | None = None,
    *,
    workers: int | None = None,
    threads: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Convert many pictures from file to file, on disks that all machines have.

    Args:
        jobs: as in `convert_all`.
        style: a name, or a folder that all machines have.
        options: how to draw.
        output: how to write; `max_memory` is not for workers.
        workers: how many; None for as many as the cluster has processors for.
        threads: of each worker.
        stop: asked after each picture.
    Yields:
        The outcome of each picture, in the order in which they are done.
    """
    rows = []
    for job in jobs:
        assert job.target is not None
        try:
            if job.on_existing == "refuse":
                refuse_existing(job.target)
        except ToonboxError as exists_already:
            yield Outcome(job.source, job.target, "failed", error=exists_already)
        else:
            rows.append(_row(job.source, job.target, job.on_existing == "overwrite"))
    for row in _rows(rows, style, workers, threads, options, output):
        error = _error(row) if row["error"] else None
        size = (row["width"], row["height"]) if row["width"] else None
        source, target = Path(row["source"]), Path(row["target"])
        yield Outcome(source, target, row["status"], row["seconds"], size, error)
        if stop():
            break


def _error(row: Row) -> ToonboxError:
    """Make an error of what a worker tells; its traceback cannot travel but as a note."""
    if not row["traceback"]:
        return PictureError(row["error"])
    error = UnexpectedError(row["error"])
    error.add_note(row["traceback"])
    return error


def _row(source: Path, target: Path, overwrite: bool) -> Row:
    """Describe a job by absolute paths too; `source` and `target` are for messages.

    Of two tries of one picture the second finds what the first has written: never "refuse".
    """
    return {
        "source": str(source),
        "target": str(target),
        "from": str(source.absolute()),
        "to": str(target.absolute()),
        "overwrite": overwrite,
    }


def cartoonize_storage(
    source: str,
    output: str,
    style: str | Path = DEFAULT_STYLE,
    *,
    overwrite: bool = False,
    workers: int | None = None,
    threads: int = 1,
    **options: Any,
) -> Iterator[Row]:
    """Convert all pictures below one place of a storage, as the same tree below another.

    Args:
        source, output: URIs that pyarrow knows, such as s3://bucket/photos.
        overwrite: convert those again whose cartoons exist.
        style, workers, threads: as in `convert_on_ray`.
        options: the fields of `StyleOptions` and `OutputOptions`.
    Yields:
        For each picture whose cartoon did not exist: source, target, status (ok, skipped or
        failed), seconds, width, height, error, and the traceback of an unexpected one, in the order
        in which they are done.
    """
    style_options, writing = split_options(options, StyleOptions, OutputOptions)
    there = set() if overwrite else set(_listed(output))
    rows = []
    for name in _listed(source):
        below = Path(name)
        hidden = any(part.startswith(".") for part in below.parts)
        target = cartoon_below(below, Path(), Path(), writing.format).as_posix()
        if is_picture(below) and not hidden and target not in there:
            ends = f"{source.rstrip('/')}/{name}", f"{output.rstrip('/')}/{target}"
            names = dict(zip(("source", "target", "from", "to"), ends * 2, strict=True))
            rows.append({**names, "overwrite": overwrite})
    yield from _rows(rows, style, workers, threads, style_options, writing)


def _rows(rows: list[Row], *how: Any) -> Iterator[Row]:
    """Map workers over rows, `how` as in `_finished`; those that no worker could finish fail."""
    if not rows:
        return
    missing = {row["to"]: row for row in rows}
    for row in _finished(rows, *how):
        if missing.pop(row["to"], None):
            yield row
    for row in missing.values():  # each alone: most only waited for a worker that another one ended
        reason = f"{row['source']}: the worker that had it ended, {_TRIES} times"
        failed = {**row, **_NOTHING, "status": "failed", "error": reason}
        yield next(_finished([row], *how), failed)


def _finished(
    rows: list[Row],
    style: str | Path,
    workers: int | None,
    threads: int,
    options: StyleOptions | None,
    output: OutputOptions | None,
) -> Iterator[Row]:
    """Map workers over rows; those whose workers end each time are missing from the result."""
    start_ray()
    import ray.data

    folder = find_style(style).resolve()
    # Report what is wrong now, and here.
    load_style(folder, threads=threads).stylize(
        np.zeros((8, 8, 3), np.uint8), options or StyleOptions()
    )
    shipped = folder.parent == SHIPPED
    # One is left for reading and writing the dataset: without it Ray would wait for ever.
    processors = ray.cluster_resources().get("CPU", 1) - 1  # type: ignore[no-untyped-call]
    most = max(1, int(processors // threads))
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
    dataset.context.enable_progress_bars = False
    with warnings.catch_warnings():
        # Ray Data has no other place for the number of tries yet; its own is without end.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        mapped = dataset.map(
            _Worker,  # type: ignore[arg-type]
            compute=ray.data.ActorPoolStrategy(size=min(workers or most, len(rows), most)),
            num_cpus=min(threads, max(0.5, processors)),
            max_restarts=-1,
            max_task_retries=_TRIES - 1,
            fn_constructor_kwargs={
                "style": folder.name if shipped else str(folder),
                "threads": threads,
                "options": options,
                "output": output,
            },
        )
    mapped.context.max_errored_blocks = -1
    yield from mapped.iter_rows()


_NOTHING: Row = {
    **{"status": "ok", "seconds": 0.0, "width": 0, "height": 0},
    **{"error": "", "traceback": ""},
}


class _Worker:
    """An actor: one session, and the options of the run."""

    def __init__(
        self, style: str, threads: int, options: StyleOptions | None, output: OutputOptions | None
    ) -> None:
        self.converter = Converter(load_style(style, threads=threads), options, output)

    def __call__(self, row: Row) -> Row:
        done, began = {**row, **_NOTHING}, time.perf_counter()
        try:
            with failing_alone(row["source"]), _errors_of_storage(row["source"]):
                done |= self._convert(row)
        except ToonboxError as error:
            done |= {"status": "failed", "error": str(error)}
            if isinstance(error, UnexpectedError):
                done["traceback"] = "".join(traceback.format_exception(error))
        return {**done, "seconds": time.perf_counter() - began}

    def _convert(self, row: Row) -> Row:
        from pyarrow import fs

        (source, here), (target, there) = _storage(row["from"]), _storage(row["to"])
        if not row["overwrite"] and target.get_file_info(there).type != fs.FileType.NotFound:
            return {"status": "skipped"}
        with source.open_input_stream(here) as stream:
            job = Job(Path(here), Path(there), data=stream.read(), name=row["source"])
        rendered = self.converter.render(job)
        if isinstance(target, fs.LocalFileSystem):
            write_file(Path(there), rendered.data)
        else:  # stores of objects show them when they are complete
            with target.open_output_stream(there) as stream:
                stream.write(rendered.data)
        width, height = rendered.size
        return {"width": width, "height": height}


@contextmanager
def _errors_of_storage(name: str) -> Iterator[None]:
    """Turn errors of disks and networks into ours: they say enough as they are."""
    try:
        yield
    except OSError as error:
        raise ToonboxError(f"{name}: {error}") from error


def _storage(place: str) -> tuple[Any, str]:
    """Find the storage of a URI or an absolute path, and the path in it."""
    from pyarrow import fs

    found: tuple[Any, str] = fs.FileSystem.from_uri(place)
    return found


def _listed(place: str) -> list[str]:
    """List the files below a place, by their names below it."""
    from pyarrow import fs

    storage, path = _storage(place)
    found = storage.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
    files = [one.path for one in found if one.type == fs.FileType.File]
    return sorted(Path(file).relative_to(path).as_posix() for file in files)
