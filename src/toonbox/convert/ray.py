"""Many pictures on one machine or many: a style mapped over a Ray dataset. Needs the extra `ray`.

Each worker is an actor with a session of its own. Ray restarts workers that die and retries their
pictures; a picture that kills its worker every time is reported as failed.
"""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from toonbox.convert.job import Converter, Job, Need, Outcome, convert_one, settled
from toonbox.engine.style import SHIPPED, find_style, load_style
from toonbox.errors import MissingExtraError, PictureError, ToonboxError, UnexpectedError
from toonbox.options import DEFAULT_STYLE, OutputOptions, StyleOptions
from toonbox.parallel import available_processors, without_signals

_STARTS = 4  # attempts to start a cluster here; the next one finds its files in the cache
_TRIES = 3  # of a picture whose worker ends
_BLOCKS = 10_000  # at most, for Ray's bookkeeping; the pictures of a block are retried together

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
    place = address or "this machine"
    settings: Row = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        # One more than workers, see `_finished`; it is mostly idle.
        settings |= {"num_cpus": available_processors() + 1, "include_dashboard": False}
        settings["resources"] = {"TPU": 0}  # or it asks Google's cloud about those it finds
    for _ in range(_STARTS):
        try:
            with nullcontext() if address else _within_this_machine():
                ray.init(address or "local", **settings)
            return
        except (OSError, RuntimeError, ValueError) as error:
            raise ToonboxError(f"no Ray cluster at {place}: {error}") from error
        except Exception as error:  # of no other kind, if its agent takes more than 15 seconds
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    raise ToonboxError(f"no Ray cluster at {place}: Ray did not start in time")


@contextmanager
def _within_this_machine() -> Iterator[None]:
    """Keep a cluster that starts here from using the network, unless the user has set otherwise.

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
    """Connect as `start_ray` does, and disconnect afterwards; errors are the same.

    Ray tells on standard output of workers that have ended, at its own end too; within the block
    that goes to standard error.
    """
    with redirect_stdout(sys.stderr):
        # As Ray does with Ctrl-C: the workers finish what they have begun.
        with without_signals(signal.SIGTERM):
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
        output: `max_memory` is not for workers.
        workers: how many; None for as many as the cluster has processors for.
        threads: of each worker.
        stop: asked after each picture.
    Yields:
        The outcome of each picture, in the order in which they are done.
    """
    given: list[Job] = []
    for job in jobs:
        if outcome := settled(job):
            yield outcome
        else:
            given.append(job)
    for number, outcome in _outcomes(given, style, workers, threads, options, output):
        yield replace(outcome, source=given[number].source, target=given[number].target)
        if stop():
            break


def _outcomes(jobs: list[Job], *how: Any) -> Iterator[tuple[int, Outcome]]:
    """Map workers over jobs, `how` as in `_finished`; yield each outcome with its job's number."""
    missing = {number: _row(number, job) for number, job in enumerate(jobs)}
    for row in _finished(list(missing.values()), *how) if missing else ():
        if missing.pop(row["number"], None):
            yield row["number"], row["outcome"]
    for number, row in missing.items():  # each alone: most waited for a worker that another ended
        job = jobs[number]
        reason = PictureError(f"{job.shown}: its worker ended unexpectedly, {_TRIES} times")
        failed = Outcome(job.source, job.target, "failed", error=reason)
        yield number, next(_finished([row], *how), {"outcome": failed})["outcome"]


def _row(number: int, job: Job) -> Row:
    """Make a row of a job, with absolute paths and its name in messages.

    Existing targets are never refused: a retry may find what the first attempt wrote.
    """
    assert job.target is not None
    on_existing: Any = "overwrite" if job.on_existing == "overwrite" else "skip"
    paths = job.source.absolute(), job.target.absolute()
    return {"number": number, "job": Job(*paths, on_existing, name=job.shown)}


def _finished(
    rows: list[Row],
    style: str | Path,
    workers: int | None,
    threads: int,
    options: StyleOptions | None,
    output: OutputOptions | None,
) -> Iterator[Row]:
    """Map workers over rows; those whose workers end each time are missing from the result."""
    folder = find_style(style).resolve()
    # Raise errors of the style or its options here, before a cluster is started.
    load_style(folder, threads=threads).check(options or StyleOptions())
    shipped = folder.parent == SHIPPED
    start_ray()
    import ray.data

    # Ray needs one to read and write the dataset, or it waits forever.
    processors = ray.cluster_resources().get("CPU", 1) - 1  # type: ignore[no-untyped-call]
    most = max(1, int(processors // threads))
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
    dataset.context.enable_progress_bars = False
    with warnings.catch_warnings():
        # Ray Data has no other option for the number of attempts yet; its default is infinite.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        mapped = dataset.map(
            _Worker,  # type: ignore[arg-type]
            compute=ray.data.ActorPoolStrategy(size=min(workers or most, len(rows), most)),
            num_cpus=min(threads, max(0.5, processors)),
            max_restarts=-1,
            max_task_retries=_TRIES - 1,
            fn_constructor_args=(folder.name if shipped else str(folder), threads, options, output),
        )
    mapped.context.max_errored_blocks = -1
    yield from mapped.iter_rows()


class _Worker:
    """An actor: one session, and the options of the run."""

    def __init__(
        self, style: str, threads: int, options: StyleOptions | None, output: OutputOptions | None
    ) -> None:
        self.converter = Converter(load_style(style, threads=threads), options, output)

    def __call__(self, row: Row) -> Row:
        outcome = settled(row["job"]) or convert_one(row["job"], self.converter, Need())
        if isinstance(outcome.error, UnexpectedError):  # the traceback itself cannot be pickled
            outcome.error.add_note("".join(traceback.format_exception(outcome.error)))
        return row | {"outcome": outcome}
