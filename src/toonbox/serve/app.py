"""The JSON API, and the page at its root: one FastAPI app."""

import asyncio
import logging
import mimetypes
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import generate_latest
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from toonbox.atomic import folder_beside
from toonbox.convert.job import Job
from toonbox.errors import ToonboxError
from toonbox.images.formats import USUAL_SUFFIXES
from toonbox.options import (
    OutputOptions,
    StyleOptions,
    VideoOptions,
    choices_of,
    split_options,
)
from toonbox.serve.jobs import ENDED, Jobs, ServedJob
from toonbox.serve.limits import Guard
from toonbox.serve.metrics import Metrics
from toonbox.serve.pictures import Budget, Pictures, Slot, Styles
from toonbox.serve.problems import is_disk_full, problem, status_of
from toonbox.serve.settings import ServerOptions
from toonbox.serve.uploads import FIELD, FORM, is_form, pieces
from toonbox.version import __version__

_CHUNK = 256 << 10  # bytes of an answer at a time
_PAUSE = 0.5  # seconds after which an event stream looks whether the server is ending
_NOT_SERVED = ("resume", "keep_partial")  # options for files that stay
_PICTURES = ("jpeg", "png", "webp", "avif", "tiff", "bmp", "gif")
_TYPES = {
    ".avif": "image/avif",
    ".m4v": "video/mp4",
    ".mjs": "text/javascript",
    ".mkv": "video/x-matroska",
    ".webp": "image/webp",
}

_logger = logging.getLogger(__name__)


class Service:
    """What the routes use."""

    def __init__(self, options: ServerOptions) -> None:
        self.options, self.metrics = options, Metrics()
        self.budget = Budget(options.max_memory, options.drawn)
        self.styles = Styles(options)
        self.pictures = Pictures(options, self.styles, self.budget, self.metrics)
        self.jobs: Jobs  # once the app runs
        self.ending = False

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Keep a folder for jobs as long as the app runs, and load the default style."""
        with folder_beside(Path(tempfile.gettempdir(), "toonbox")) as folder:
            self.jobs = Jobs(folder, self.options, self.budget, self.metrics)
            loading = asyncio.create_task(asyncio.to_thread(self._load))
            try:
                yield
            finally:
                self.ending = True
                await loading
                await self.jobs.close()
                await asyncio.to_thread(self.pictures.close)

    def _load(self) -> None:
        try:
            self.styles.load()
        except ToonboxError as error:
            _logger.error("%s", error, exc_info=error)

    def split(self, query: BaseModel, *kinds: type[Any]) -> tuple[str | None, tuple[Any, ...]]:
        """Return the style's name and the option objects that a request asks for."""
        given = query.model_dump(exclude_unset=True)
        style = given.pop("style", None)
        limit = self.options.max_pixels
        given["max_pixels"] = min(given.get("max_pixels", limit), limit)
        return style, split_options(given, *kinds)


def create_app(options: ServerOptions, site: Mapping[str, Path | bytes] | None = None) -> FastAPI:
    """Make the app.

    Args:
        options: its limits.
        site: the page's files by their paths, None for no page.
    Raises:
        StyleError: the default style is missing.
    """
    service = Service(options)
    app = FastAPI(
        title="toonbox",
        version=__version__,
        description="Turn photographs and videos into cartoons.",
        lifespan=service.running,
        docs_url=None,  # both load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    _add_state(app, service)
    _add_pictures(app, service)
    _add_jobs(app, service)
    _add_errors(app)
    if site:
        _add_site(app, site)

    errors = service.metrics.errors
    app.add_middleware(
        Guard, options=options, count=lambda status: errors.labels(str(status)).inc()
    )
    return app


def _query(name: str, service: Service, *kinds: type[Any]) -> type[BaseModel]:
    """Make the query parameters of option classes."""
    parameters: dict[str, Any] = {
        "style": (str, Field(None, description="Name of a style, see /api/styles.")),
    }
    served = (each for kind in kinds for each in fields(kind) if each.name not in _NOT_SERVED)
    for each in served:
        type_: Any = Literal[choices] if (choices := choices_of(each)) else each.type
        default = service.options.max_pixels if each.name == "max_pixels" else each.default
        low, high = each.metadata.get("min"), each.metadata.get("max")
        parameters[each.name] = (
            type_,
            Field(default, description=each.metadata["help"], ge=low, le=high),
        )
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model(name, __config__=config, **parameters)


_BINARY = {"type": "string", "format": "binary"}
_BINARIES = {"type": "array", "items": _BINARY, "minItems": 1}


def _form(files: dict[str, Any]) -> dict[str, Any]:
    """Describe a form with a file, or several."""
    return {"schema": {"type": "object", "properties": {FIELD: files}, "required": [FIELD]}}


class Problem(BaseModel):
    """An error answer."""

    title: str
    status: int
    detail: str


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    answer = {"content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
    return {status: {"description": "Refused", **answer} for status in (401, 403, *statuses)}


def _add_state(app: FastAPI, service: Service) -> None:
    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Report that the server runs; needs no token."""
        return {"status": "ok", "version": __version__}

    @app.get("/ready", responses=_problems(503))
    async def ready() -> dict[str, bool]:
        """Return whether the default style is loaded."""
        if not service.styles.ready or service.ending:
            raise HTTPException(503, "not ready")
        return {"ready": True}

    @app.get("/metrics", response_class=Response, responses=_problems())
    def metrics() -> Response:
        """Return the metrics, for Prometheus."""
        return Response(
            generate_latest(service.metrics.registry), media_type="text/plain; version=0.0.4"
        )

    @app.get("/api/styles", responses=_problems())
    def styles() -> list[dict[str, Any]]:
        """List the styles, the default one first."""
        return [
            {
                "name": name,
                "description": card.description,
                "knobs": card.knobs,
                "resolution": card.working_resolution,
                "detail": card.detail_resolution,
                "multiple": card.size_multiple,
                "reach": card.reach,
                "beyond": card.beyond,
            }
            for name, card in service.styles.cards()
        ]


def _add_pictures(app: FastAPI, service: Service) -> None:
    query_type = _query("PictureOptions", service, StyleOptions, OutputOptions)
    body = {
        "required": True,
        "content": {"image/*": {"schema": _BINARY}, FORM: _form(_BINARY)},
    }
    answer = {
        "description": "The cartoon",
        "content": {f"image/{name}": {"schema": _BINARY} for name in _PICTURES},
    }

    async def take_slot() -> AsyncIterator[Slot]:
        with service.pictures.slot() as slot:
            yield slot  # its bytes count until the answer is sent

    @app.post(
        "/api/cartoonize",
        response_class=Response,
        responses={200: answer, **_problems(400, 408, 413, 415, 422, 429, 500, 503, 504)},
        openapi_extra={"requestBody": body},
    )
    async def cartoonize(
        request: Request,
        query: Annotated[query_type, Query()],  # type: ignore[valid-type]
        slot: Annotated[Slot, Depends(take_slot)],
    ) -> Response:
        """Turn a picture into a cartoon of the same size: bytes in, bytes out."""
        style, options = service.split(query, StyleOptions, OutputOptions)
        service.styles.find(style)
        name, data = await _read_picture(request, slot, service.options)
        job = Job(Path(name or "picture"), data=data)
        gone = asyncio.ensure_future(_client_gone(request))
        try:
            converted = await service.pictures.convert(slot, job, style, options, gone)
        finally:
            gone.cancel()
        suffix = USUAL_SUFFIXES[converted.format]
        headers = {
            "Content-Length": str(len(converted.data)),
            "Content-Disposition": _named(f"{job.source.stem}.toon{suffix}"),
        }
        return StreamingResponse(_chunks(converted.data), 200, headers, type_of(suffix))


async def _read_picture(request: Request, slot: Slot, options: ServerOptions) -> tuple[str, bytes]:
    """Read the one picture of a request: its name, which may be empty, and its bytes."""
    name, data = "", bytearray()
    try:
        async with asyncio.timeout_at(slot.until):
            async for _, given, piece in pieces(
                request, files=1, size=options.max_body, patience=options.patience
            ):
                name = given
                slot.add(len(piece))
                data += piece
    except TimeoutError:
        raise HTTPException(408, "the picture comes too slowly") from None
    if not data:
        raise HTTPException(400, "there is no picture in the body")
    return name, bytes(data)


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    """Yield parts, so that an answer waits for its client to take it."""
    for start in range(0, len(data), _CHUNK):
        yield data[start : start + _CHUNK]


def _named(name: str) -> str:
    plain = name.encode("ascii", "replace").decode().replace('"', "'").replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def type_of(name: str) -> str:
    """Return the media type of a file by its suffix."""
    suffix = Path(name or "index.html").suffix.lower() or name
    guessed = _TYPES.get(suffix) or mimetypes.guess_type(f"file{suffix}")[0]
    return guessed or "application/octet-stream"


def _add_jobs(app: FastAPI, service: Service) -> None:
    query_type = _query("JobOptions", service, StyleOptions, OutputOptions, VideoOptions)
    body = {"required": True, "content": {FORM: _form(_BINARIES)}}

    def find(id: str) -> ServedJob:
        return service.jobs.find(id)

    keep = service.options.keep
    Found = Annotated[ServedJob, Depends(find)]  # noqa: N806 (a type)

    async def read(job: Found) -> AsyncIterator[ServedJob]:
        with service.jobs.reading(job):
            yield job  # until the answer is sent

    @app.post(
        "/api/jobs",
        status_code=202,
        responses=_problems(400, 408, 413, 415, 422, 429, 503, 507),
        openapi_extra={"requestBody": body},
    )
    async def start(
        request: Request,
        query: Annotated[query_type, Query()],  # type: ignore[valid-type]
    ) -> dict[str, Any]:
        """Start a job: one video, or pictures, as files of a form."""
        if not is_form(request):
            raise HTTPException(415, "a job's files come as multipart/form-data")
        style, options = service.split(query, StyleOptions, OutputOptions, VideoOptions)
        job = service.jobs.open(service.styles.find(style), options)
        try:
            await _receive(request, job, service)
            job.check()
        except BaseException:
            await service.jobs.delete(job)
            raise
        service.jobs.start(job)
        return job.described(keep)

    @app.get("/api/jobs/{id}", responses=_problems(404))
    async def state(job: Found) -> dict[str, Any]:
        """Return the state of a job."""
        return job.described(keep)

    @app.get("/api/jobs/{id}/events", response_class=EventSourceResponse, responses=_problems(404))
    async def events(job: Found) -> AsyncIterator[ServerSentEvent]:
        """Stream the state of a job whenever it changes, until the job ends."""
        while not service.ending:
            changed, state = job.changed, job.described(keep)
            yield ServerSentEvent(event="job", data=state)
            if state["state"] in ENDED:
                return
            while not changed.is_set() and not service.ending:
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _PAUSE)

    @app.get(
        "/api/jobs/{id}/result",
        response_class=FileResponse,
        responses={200: {"content": {"*/*": {"schema": _BINARY}}}, **_problems(404, 409)},
    )
    async def result(job: Annotated[ServedJob, Depends(read)]) -> FileResponse:
        """Return the cartoon of a job, or a zip file of them."""
        if job.result is None or not job.result.exists():
            raise HTTPException(409, job.message or f"the job is {job.state}")
        name = job.result.name
        return FileResponse(job.result, media_type=type_of(name), filename=name)

    @app.delete("/api/jobs/{id}", status_code=204, responses=_problems(404))
    async def delete(job: Found) -> None:
        """Cancel a job, and delete it with its files."""
        await service.jobs.delete(job)


async def _receive(request: Request, job: ServedJob, service: Service) -> None:
    """Write a form's files into a job's folder."""
    limits = service.options
    try:
        async for number, name, data in pieces(
            request, files=limits.max_files, size=limits.max_upload, patience=limits.patience
        ):
            if number > len(job.files):
                place = job.add(name)
            service.jobs.count(job, len(data))
            await asyncio.to_thread(_append, place, data)
    except OSError as error:
        raise HTTPException(507 if is_disk_full(error) else 500, str(error.strerror)) from error


def _append(place: Path, data: bytes) -> None:
    with place.open("ab") as file:
        file.write(data)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def refuse_options(_: Request, error: RequestValidationError) -> JSONResponse:
        reasons = [
            f"{'.'.join(map(str, each['loc'][1:2]))}: {each['msg']}" for each in error.errors()
        ]
        return problem(422, "; ".join(reasons))

    @app.exception_handler(ToonboxError)
    async def fail(_: Request, error: ToonboxError) -> JSONResponse:
        status = status_of(error)
        if status == 500:
            _logger.error("%s", error, exc_info=error)
        return problem(status, str(error))

    @app.exception_handler(ClientDisconnect)
    async def leave(_: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)


def _add_site(app: FastAPI, site: Mapping[str, Path | bytes]) -> None:
    @app.api_route("/{path:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def file(path: str) -> Response:
        found = site.get(path or "index.html")
        if found is None:
            raise HTTPException(404, "there is no such page")
        headers = {"Cache-Control": "no-cache"}  # ask each time whether it has changed
        kind = type_of(path)
        if isinstance(found, bytes):
            return Response(found, media_type=kind, headers=headers)
        return FileResponse(found, media_type=kind, headers=headers)
