import hashlib
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from toonbox.errors import WeightsError
from toonbox.learn import weights as weights_cache
from toonbox.learn.weights import WeightFile


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder served on this machine only, and a cache folder beside it."""
    (tmp_path / "served").mkdir()
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TOONBOX_OFFLINE", raising=False)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path / "served"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def published(address: str, content: bytes = b"", **values: str) -> WeightFile:
    sha256 = hashlib.sha256(content).hexdigest() if content else "0" * 64
    fields = {"purpose": "", "licence": "", "source": "", "option": "--own", **values}
    return WeightFile("some", url=address, sha256=sha256, megabytes=1, **fields)


def test_download_is_checked_and_cached(served) -> None:
    folder, address = served
    (folder / "w.pth").write_bytes(b"weights")
    weights = published(f"{address}/w.pth", b"weights")
    assert not weights.is_present()
    first = weights_cache.fetch(weights)
    assert weights.is_present()
    assert first == weights_cache.cache_folder() / "w.pth"
    (folder / "w.pth").unlink()
    second = weights_cache.fetch(weights, offline=True)
    assert second.read_bytes() == b"weights"


def test_wrong_hash_leaves_nothing(served) -> None:
    folder, address = served
    (folder / "w.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"w\.pth could not be downloaded"):
        weights_cache.fetch(published(f"{address}/w.pth"))
    assert not (weights_cache.cache_folder() / "w.pth").exists()


def test_unreachable_address_is_named(served) -> None:
    weights = published(f"{served[1]}/absent.pth", package="some==1")
    with pytest.raises(WeightsError, match=r"absent\.pth could not be downloaded") as caught:
        weights_cache.fetch(weights)
    for part in (str(weights.path), weights.url, "0" * 64, "--own FILE", "some==1"):
        assert part in str(caught.value)


def test_a_server_that_says_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path))
    monkeypatch.delenv("TOONBOX_OFFLINE", raising=False)
    monkeypatch.setattr(weights_cache, "TIMEOUT", (0.1, 0.1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/w.pth"
        with pytest.raises(WeightsError, match=r"w\.pth could not be downloaded.*timed? ?out"):
            weights_cache.fetch(published(address))
    assert not list(tmp_path.glob("w.pth*"))


def test_damaged_cache_is_replaced(served) -> None:
    folder, address = served
    (folder / "w.pth").write_bytes(b"good")
    weights = published(f"{address}/w.pth", b"good")
    weights_cache.cache_folder().mkdir()
    (weights_cache.cache_folder() / "w.pth").write_bytes(b"half")
    with pytest.raises(WeightsError, match="is damaged and downloads are switched off"):
        weights_cache.fetch(weights, offline=True)
    assert weights_cache.fetch(weights).read_bytes() == b"good"


def test_offline_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path))
    monkeypatch.setenv("TOONBOX_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"vgg19-dcbb9e9d\.pth is missing[^$]*https://"):
        weights_cache.fetch(weights_cache.WEIGHTS["vgg19"])


def test_cache_folder_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOONBOX_CACHE", str(tmp_path / "a"))
    assert weights_cache.cache_folder() == tmp_path / "a"
    monkeypatch.delenv("TOONBOX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert weights_cache.cache_folder() == tmp_path / "b" / "toonbox"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights_cache.cache_folder() == Path.home() / ".cache" / "toonbox"


def test_a_terminal_sees_the_download(served, monkeypatch, capsys) -> None:
    folder, address = served
    (folder / "w.pth").write_bytes(b"x" * 3000)
    monkeypatch.setattr(weights_cache.sys.stderr, "isatty", lambda: True, raising=False)
    weights_cache.fetch(published(f"{address}/w.pth", b"x" * 3000))
    assert "Downloading weights" in capsys.readouterr().err
