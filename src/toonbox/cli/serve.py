"""`toonbox serve`: the page and the JSON API on this machine."""

import secrets
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from typer import Option, echo, launch

from toonbox.cli.terminal import complain, needs
from toonbox.engine.style import find_style, read_card
from toonbox.errors import MissingExtraError
from toonbox.parallel import interruptible
from toonbox.serve.settings import ServerOptions, is_loopback


def serve(
    options: ServerOptions,
    page: bool = Option(
        True, help="Serve the page as well as the JSON API.", envvar="TOONBOX_SERVE_PAGE"
    ),
    browser: bool = Option(True, help="Open the page in a browser, if started in a terminal."),
) -> None:
    """Serve the page and a JSON API, until Ctrl-C.

    \b
    Examples:
      toonbox serve
      toonbox serve --no-page --port 0
      toonbox serve --host 0.0.0.0 --max-body 20M
      curl --data-binary @photo.jpg -o cartoon.jpg http://127.0.0.1:8000/api/cartoonize

    Every option but --browser can be set in the environment. Ctrl-C and SIGTERM let running
    requests finish and cancel jobs; a second signal stops at once. Unexpected errors are printed
    with their tracebacks. Exit codes: 130 after Ctrl-C, 143 after SIGTERM. Requires:
    pip install 'toonbox[serve]'.
    """
    with needs("serve"):
        from toonbox.serve.app import create_app
        from toonbox.serve.server import Server, listen

    if not is_loopback(options.host) and not options.token:
        options = replace(options, token=secrets.token_urlsafe(16))
    site = _site(options.style) if page else None
    app = create_app(options, site)
    with interruptible() as stop, listen(options.host, options.port) as listening:
        address = _address(options, listening.getsockname()[1])
        echo(f"listening on {address}")
        sys.stdout.flush()
        if site and browser and sys.stdout.isatty():
            threading.Thread(target=launch, args=(address,), daemon=True).start()
        Server(app, options, stop).run([listening])


def _address(options: ServerOptions, port: int) -> str:
    """Return the address to open, with the token if there is one."""
    host = options.host
    if host in ("0.0.0.0", "::"):
        host = (options.host_names or [socket.gethostname()])[0]
    host = f"[{host}]" if ":" in host else host
    token = f"?token={quote(options.token, safe='')}" if options.token else ""
    return f"http://{host}:{port}/{token}"


def _site(style: str) -> dict[str, Path | bytes] | None:
    """Return the page's files, with the default style first; say why if there are none."""
    from toonbox import page

    folder = find_style(style)
    name = read_card(folder).name
    others = [each for each in page.shipped_styles() if each.name != name]
    try:
        return page.site_files([folder, *others])
    except MissingExtraError as error:
        complain(f"without the page: {error}")
        return None
