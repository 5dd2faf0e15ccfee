"""The command: its address, its settings, its end."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from types import SimpleNamespace

import pytest

import toonbox.page
import toonbox.serve.server
from serving import PATIENCE, Client, wait_until
from toonbox.cli import serve as command
from toonbox.cli.main import main
from toonbox.serve.settings import ServerOptions


@contextmanager
def begun(style_folder, spool, *options, before=(), **environment):
    """Run the command in a process of its own, behind `before`; give a client and the process."""
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "toonbox", "serve", "--no-page", "--port", "0",
         "--no-browser", "--style", str(style_folder), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(spool), **environment},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)/(\?token=\S+)?\n", line)
        assert found, line + process.stderr.read()
        client = Client(int(found[1]))
        wait_until(lambda: client.get("/ready").status in (200, 401))
        yield client, process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process, number):
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert output == ""
    return process.returncode, errors


@pytest.mark.parametrize(
    ("number", "codes"), [(signal.SIGTERM, {143}), (signal.SIGINT, {130, -signal.SIGINT})]
)
def test_the_end_ends_a_job_and_leaves_nothing(style_folder, spool, long_clip, number, codes):
    with begun(style_folder, spool) as (client, process):
        job = client.send_files("/api/jobs?stabilize=off", ("clip.mp4", long_clip)).json()
        wait_until(lambda: client.get(job["url"]).json()["progress"].get("frames"))
        assert [*spool.iterdir()] != []
        code, errors = end(process, number)
    assert (code in codes, errors.replace("Aborted.", "").strip()) == (True, "")
    assert [*spool.iterdir()] == []


def test_a_running_request_finishes(spool):
    photo = (command.Path(__file__).parents[2] / "examples" / "boats.jpg").read_bytes()
    answers = []
    with begun("comic", spool) as (client, process):
        path = "/api/cartoonize?resolution=native"
        asking = threading.Thread(target=lambda: answers.append(client.post(path, photo)))
        asking.start()
        wait_until(lambda: b"toonbox_in_progress 1.0" in client.get("/metrics").body)
        code, _ = end(process, signal.SIGTERM)
        asking.join()
    assert (code, answers[0].status) == (143, 200)


def test_a_killed_server_leaves_what_the_next_one_removes(style_folder, spool):
    with begun(style_folder, spool) as (_, process):
        process.kill()
        process.wait()
    assert [*spool.iterdir()] != []
    with begun(style_folder, spool) as (_, process):
        assert len([*spool.iterdir()]) == 1
        end(process, signal.SIGTERM)
    assert [*spool.iterdir()] == []


def test_every_setting_has_a_variable(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    for name in [*(each.name for each in fields(ServerOptions)), "page"]:
        assert f"TOONBOX_SERVE_{name.upper()}" in re.sub(r"\s+", "", shown)
    assert "64M" in shown


def test_few_files_may_be_open(style_folder, spool):
    """More connections than there are files end no other, and fill no log."""
    few = ["sh", "-c", 'ulimit -n 160; exec "$@"', "sh"]  # 30 connections, and 50 that wait

    def answers():
        with suppress(ConnectionError):  # while the system still sees too many
            return client.get("/health").status == 200

    with begun(style_folder, spool, before=few) as (client, process), ExitStack() as open_ones:
        for _ in range(300):
            open_ones.enter_context(client.raw())
        open_ones.close()
        wait_until(answers)
        assert end(process, signal.SIGTERM) == (143, "")


def test_more_files_are_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert toonbox.serve.server.allowed_connections() == min(700, most // 2 - 50)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_port_that_is_taken(style_folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as exit:
            main(["serve", "--no-page", "--port", str(port), "--style", str(style_folder)])
    output, errors = capsys.readouterr()
    assert (exit.value.code, output) == (2, "")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--style", "gone"], "toonbox: no style 'gone'"),
        (["--max-memory", "500M"], "toonbox: max_memory must be at least 1073741824"),
        (["--token", "sécret"], "toonbox: token must be printable ASCII"),
        (["--token", "secret\n"], "toonbox: token must be printable ASCII"),
        (["--host", "nowhere.invalid"], "toonbox: cannot listen on nowhere.invalid:8000"),
    ],
)
def test_settings_that_cannot_be(capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        main(["serve", "--no-page", *options])
    assert exit.value.code in (1, 2)
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_what_to_install(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from toonbox.cli.main import main"
    command = [sys.executable, "-c", f"{code}; main(['serve'])"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    advice = f"this needs {missing}, which is not installed: pip install 'toonbox[serve]'"
    assert advice in run.stderr


def test_the_using_half_alone():
    code = "import toonbox.serve.server, sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    assert "fastapi" in loaded
    assert not loaded & {"torch", "cv2", "onnx"}


@pytest.fixture
def started(monkeypatch, style_folder):
    """Run the command without serving: give what it would serve, and the pages it would open."""
    calls = SimpleNamespace(opened=[], app=None, options=None)

    def server(app, options, stop):
        calls.app, calls.options = app, options
        return SimpleNamespace(run=lambda sockets: None)

    monkeypatch.setattr(toonbox.serve.server, "Server", server)
    monkeypatch.setattr(command, "launch", calls.opened.append)
    monkeypatch.setattr(command.threading, "Thread", Now)

    def start(*options):
        with pytest.raises(SystemExit) as exit:
            main(["serve", "--port", "0", "--style", str(style_folder), *options])
        assert exit.value.code in (0, None)
        return calls

    return start


class Now:
    """A thread that does it at once."""

    def __init__(self, target, args, daemon):
        self.start = lambda: target(*args)


def test_another_host_gets_a_token(started, monkeypatch, capsys):
    monkeypatch.setattr(command, "is_loopback", lambda host: False)
    calls = started("--no-page")
    token = calls.options.token
    assert len(token) > 20
    assert capsys.readouterr().out.endswith(f"/?token={token}\n")
    assert started("--no-page", "--token", "mine").options.token == "mine"
    assert started("--no-page").options.token not in (None, token, "mine")
    assert len(started("--no-page", "--token", "").options.token) > 20


def test_settings_from_the_environment(started, monkeypatch):
    monkeypatch.setenv("TOONBOX_SERVE_MAX_BODY", "1k")
    monkeypatch.setenv("TOONBOX_SERVE_TOKEN", "secret")
    for arguments, max_body in ([], 1024), (["--max-body", "100"], 100):
        options = started("--no-page", *arguments).options
        assert (options.max_body, options.token) == (max_body, "secret")


def test_no_token_here(started):
    assert started("--no-page").options.token is None


def test_the_address_of_every_host():
    def address(host, token=None):
        return command._address(ServerOptions(host=host, token=token), 80)

    assert address("127.0.0.1") == "http://127.0.0.1:80/"
    assert address("::1", "abc") == "http://[::1]:80/?token=abc"
    assert address("127.0.0.1", "a+b&c") == "http://127.0.0.1:80/?token=a%2Bb%26c"
    assert "0.0.0.0" not in address("0.0.0.0")
    named = ServerOptions(host="0.0.0.0", names="toons.example, other.example")
    assert command._address(named, 80) == "http://toons.example:80/"


def test_the_browser(started, monkeypatch, capsys):
    shown = []

    def site_files(styles):
        shown[:] = [style.name for style in styles]
        return {"index.html": b"<!doctype html>"}

    monkeypatch.setattr(toonbox.page, "site_files", site_files)
    assert started("--style", "ink").opened == []  # no terminal
    assert shown[0] == "ink"
    assert sorted(shown) == sorted(folder.name for folder in toonbox.page.shipped_styles())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert started("--no-browser").opened == []
    assert started("--no-page").opened == []
    calls = started()
    assert calls.opened == [capsys.readouterr().out.split()[-1]]
    assert any(getattr(route, "path", "") == "/{path:path}" for route in calls.app.routes)


def test_without_the_pages_files(started, monkeypatch, capsys):
    def missing(styles):
        raise toonbox.MissingExtraError(
            "the page's files are missing: pip install 'toonbox[serve]'"
        )

    monkeypatch.setattr(toonbox.page, "site_files", missing)
    started()
    assert capsys.readouterr().err.startswith("toonbox: without the page: the page's files")
