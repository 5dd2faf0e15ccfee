"""The settings of the server: declared once, for the command line and the environment."""

import ipaddress
from dataclasses import dataclass
from typing import ClassVar

from toonbox.options import DEFAULT_STYLE, EngineOptions, check, option
from toonbox.parallel import available_processors

LEAST_RATE = 16 << 10  # bytes a second that a client should manage on average


@dataclass(frozen=True, kw_only=True)
class ServerOptions(EngineOptions):
    """Where the server listens, and its limits."""

    ENVIRONMENT: ClassVar = "TOONBOX_SERVE_"  # and the field's name in capitals

    host: str = option(
        "127.0.0.1", "Address to listen on; any but this machine's own needs a token."
    )
    port: int = option(8000, "Port; 0 for one that is free.", min=0, max=65535)
    names: str | None = option(
        None,
        "Host names under which clients may ask, separated by commas. Default: this machine's "
        "own; with another --host, any.",
        metavar="NAME,...",
    )
    token: str | None = option(
        None, "Secret that clients must send. Default: none here, a new one with another --host."
    )
    style: str = option(
        DEFAULT_STYLE,
        "Style to load at the start, for requests that name none.",
        metavar="NAME|DIR",
    )
    workers: int | None = option(
        None, "Pictures to draw at a time. Default: one for each core.", min=1, metavar="N"
    )
    queue: int = option(16, "Pictures that may wait; more are told to come again (429).", min=0)
    max_jobs: int = option(8, "Jobs that may wait or run; more are told to come again.", min=1)
    max_files: int = option(200, "Pictures in a job.", min=1)
    max_body: int = option(64 << 20, "Largest picture file.", min=1, metavar="SIZE", typed="64M")
    max_upload: int = option(1 << 30, "Largest upload of a job.", min=1, metavar="SIZE", typed="1G")
    max_disk: int = option(
        4 << 30, "Uploads and results of all jobs together.", min=1, metavar="SIZE", typed="4G"
    )
    max_pixels: int = option(
        50_000_000, "Largest picture, all its frames together, or frame of a video.", min=1
    )
    max_memory: int | None = option(
        None,
        "Memory to stay within, at least 1G. Default: three quarters of the machine's.",
        min=1 << 30,
        metavar="SIZE",
    )
    deadline: float = option(
        60.0, "Seconds in which a picture is answered, its waiting included.", min=0.001
    )
    job_deadline: float = option(3600.0, "Seconds that a job may run.", min=0.001)
    patience: float = option(
        20.0, "Seconds without a sign after which a client is cut off.", min=0.001
    )
    keep: float = option(900.0, "Seconds for which results of jobs are kept.", min=0.001)

    def __post_init__(self) -> None:
        check(self)

    @property
    def drawn(self) -> int:
        """How many pictures are drawn at a time."""
        return self.workers or available_processors()


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
