"""Error answers: RFC 9457's application/problem+json."""

import errno
from http import HTTPStatus

from fastapi import HTTPException
from PIL import UnidentifiedImageError
from starlette.responses import JSONResponse

from toonbox.errors import (
    MissingExtraError,
    OutputError,
    PictureError,
    StyleError,
    TooLargeError,
    ToonboxError,
    UsageError,
    VideoError,
)
from toonbox.images.tiff import UnsupportedError


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Make an error answer."""
    title = HTTPStatus(status).phrase
    return JSONResponse(
        {"title": title, "status": status, "detail": detail},
        status,
        headers,
        "application/problem+json",
    )


def busy(detail: str, seconds: float) -> HTTPException:
    """Make the answer that asks the client to retry later."""
    return HTTPException(429, detail, {"Retry-After": str(max(1, round(seconds)))})


def status_of(error: ToonboxError) -> int:
    """Choose the status for an error of the library."""
    cause = error.__cause__
    match error:
        case StyleError():
            return 500
        case TooLargeError():
            return 413
        case MissingExtraError():
            return 415
        case OutputError() if isinstance(cause, OSError):
            return 507 if is_disk_full(cause) else 500
        case PictureError() if isinstance(cause, UnidentifiedImageError | UnsupportedError):
            return 415
        case PictureError() if isinstance(cause, MemoryError):
            return 503
        case PictureError() | VideoError() | UsageError() | OutputError():
            return 422
        case _:
            return 500


def is_disk_full(error: OSError) -> bool:
    """Return whether an error means that the disk, or a quota on it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
