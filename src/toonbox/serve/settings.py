"""The settings of the server: declared once, for the command line and the environment."""

import ipaddress
from dataclasses import dataclass
from typing import ClassVar

from toonbox.errors import UsageError
from toonbox.options import DEFAULT_STYLE, EngineOptions, option
from toonbox.parallel import available_processors

LEAST_RATE = 16 << 10  # bytes a second that a client should manage on average


@dataclass(frozen=True, kw_only=True)
class ServerOptions(EngineOptions):
    """Where the server listens, and its limits."""

    ENVIRONMENT: ClassVar = "TOONBOX_SERVE_"  # and the field's name in capitals

    host: str = option(
        "127.0.0.1", "Address to listen on; one that other machines can reach requires a token."
    )
    port: int = option(8000, "Port; 0 picks a free one.", min=0, max=65535)
    names: str | None = option(
        None,
        "Host names that requests may use, separated by commas. Default: localhost only; "
        "with another --host, any.",
        metavar="NAME,...",
    )
    token: str | None = option(
        None, "Secret that clients must send. Default: none; generated for another --host."
    )
    style: str = option(
        DEFAULT_STYLE,
        "Style loaded at startup, and used by requests that name none.",
        metavar="NAME|DIR",
    )
    workers: int | None = option(
        None, "Pictures to draw at a time. Default: one for each core.", min=1, metavar="N"
    )
    queue: int = option(16, "Pictures that may wait; further ones are refused (429).", min=0)
    max_jobs: int = option(8, "Jobs that may wait or run; further ones are refused (429).", min=1)
    max_files: int = option(200, "Maximum number of pictures in a job.", min=1)
    max_body: int = option(64 << 20, "Largest picture file.", min=1, metavar="SIZE", typed="64M")
    max_upload: int = option(1 << 30, "Largest upload of a job.", min=1, metavar="SIZE", typed="1G")
    max_disk: int = option(
        4 << 30,
        "Maximum disk space for the uploads and results of all jobs.",
        min=1,
        metavar="SIZE",
        typed="4G",
    )
    max_pixels: int = option(
        50_000_000, "Largest picture (all its frames together), or frame of a video.", min=1
    )
    max_memory: int | None = option(
        None,
        "Memory limit, at least 1G. Default: three quarters of the machine's.",
        min=1 << 30,
        metavar="SIZE",
    )
    deadline: float = option(
        60.0,
        "Time limit for a picture, in seconds, including its wait in the queue.",
        min=0.001,
        max=86_400,
    )
    job_deadline: float = option(3600.0, "Time limit for a job, in seconds.", min=0.001)
    patience: float = option(
        20.0, "Disconnect clients after this many seconds without activity.", min=0.001
    )
    keep: float = option(900.0, "Seconds to keep the results of jobs.", min=0.001)

    def __post_init__(self) -> None:
        super().__post_init__()
        token = self.token or ""
        if not (token.isascii() and token.isprintable() and token == token.strip()):
            raise UsageError("token must be printable ASCII, without spaces at its ends")

    @property
    def host_names(self) -> list[str]:
        """The host names of `names`, in lower case."""
        return [*filter(None, map(str.strip, (self.names or "").lower().split(",")))]

    @property
    def drawn(self) -> int:
        """How many pictures are drawn at a time."""
        return self.workers or available_processors()


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
