"""Compare `toonbox serve` with the bare library on the same cores, and look at its memory.

Run `python benchmarks/serve.py`; docs/benchmarks.md says what the rows mean. Linux only.
"""

import argparse
import http.client
import io
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from PIL import Image, ImageOps

from machine import resident_mib
from ratios import Ratio, print_ratios
from toonbox.convert.job import Converter, Job
from toonbox.engine.style import load_style

EXAMPLES = Path(__file__).parents[1] / "examples"
ROUNDS = 3
SETTLE = 50  # requests before memory is looked at for the first time
PATH = "/api/cartoonize"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"

_LIBRARY = """
import sys
from pathlib import Path
from toonbox.convert.job import Converter, Job
from toonbox.engine.style import load_style
converter = Converter(load_style(sys.argv[1]).shared(int(sys.argv[2])))
data = Path(sys.argv[3]).read_bytes()
for _ in range(5):
    converter.convert(Job(Path("picture"), data=data))
print(flush=True)
sys.stdin.read()  # until its memory has been looked at
"""


def photo(megapixels: float) -> bytes:
    """Give an example as a JPEG file of this size."""
    height = max(8, round((megapixels * 1e6 * 3 / 4) ** 0.5))
    image = Image.open(EXAMPLES / "boats.jpg").convert("RGB")
    stream = io.BytesIO()
    ImageOps.fit(image, (height * 4 // 3, height)).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@contextmanager
def server(style: str, workers: int) -> Iterator[tuple[int, int]]:
    """Run the command; give its process id and port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "toonbox", "serve", "--no-page", "--port", "0",
         "--style", style, "--workers", str(workers)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
        while ask(port, "GET", "/ready")[0] != 200:
            time.sleep(0.05)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def timed(work: Callable[[], object], count: int, at_once: int) -> tuple[float, list[float]]:
    """Do something so many times; give the rate a second, and the seconds of each."""

    def once(_: int) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    with ThreadPoolExecutor(at_once) as pool:
        start = time.perf_counter()
        seconds = list(pool.map(once, range(count)))
        return count / (time.perf_counter() - start), seconds


def processor_seconds(pid: int) -> float:
    """Return what a process has taken of the processors so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare_rates(pid: int, port: int, style: str, workers: int, data: bytes, count: int) -> Ratio:
    converter = Converter(load_style(style).shared(workers))

    def library() -> None:
        converter.convert(Job(Path("picture"), data=data))

    def request() -> None:
        status, body = ask(port, "POST", PATH, data)
        assert status == 200, body

    # A client more than there are workers, so that none of these waits for the network.
    ways = {
        "library": (library, workers, os.getpid()),
        "server": (request, workers + 1, pid),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    busy = dict.fromkeys(ways, 0.0)
    for work, at_once, _ in ways.values():
        timed(work, at_once, at_once)  # warms up
    for _ in range(ROUNDS):
        for name, (work, at_once, process) in ways.items():
            before = processor_seconds(process)
            rate, seconds = timed(work, count, at_once)
            busy[name] += processor_seconds(process) - before
            rates[name].append(rate)
            taken[name] += seconds
    print(f"{'':10}{'a second':>10}{'p50 s':>9}{'p95 s':>9}{'CPU s':>9}")
    for name in ways:
        p95 = quantiles(taken[name], n=20)[-1]
        each = busy[name] / len(taken[name])
        print(
            f"{name:10}{median(rates[name]):10.2f}{median(taken[name]):9.3f}{p95:9.3f}{each:9.3f}"
        )
    ratio = median(s / p for s, p in zip(rates["server"], rates["library"], strict=True))
    return Ratio("server / library, rates", ratio, 0.9)


def storm(port: int, data: bytes, count: int) -> None:
    """Ask on so many connections at once, and count the answers by status."""
    request = f"{HEAD}Content-Length: {len(data)}\r\n\r\n".encode() + data
    selector, answers = selectors.DefaultSelector(), Counter[str]()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(request)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, bytearray())
    start = time.perf_counter()
    while selector.get_map():
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            try:
                more = key.fileobj.recv(1 << 16)
            except ConnectionError:
                more = b""
            key.data.extend(more)
            if not more:
                answers[bytes(key.data[9:12]).decode() or "none"] += 1
                selector.unregister(key.fileobj)
                key.fileobj.close()
    seconds = time.perf_counter() - start
    told = ", ".join(f"{number} x {status}" for status, number in sorted(answers.items()))
    alive = ask(port, "GET", "/health")[0] == 200
    print(f"{count} connections at once: {told}, in {seconds:.1f} s; alive: {alive}")


def look_for_leaks(pid: int, port: int, data: bytes, count: int, at_once: int) -> Ratio:
    def request() -> None:
        assert ask(port, "POST", PATH, data)[0] == 200

    timed(request, min(SETTLE, count), at_once)
    early = resident_mib(pid)
    timed(request, count, at_once)
    late = resident_mib(pid)
    print(f"memory after {count} requests: {early:.0f} MiB -> {late:.0f} MiB\n")
    return Ratio(
        f"memory of the server after {count} requests / before", late / early, at_most=1.05
    )


def added_memory(style: str, workers: int, data: bytes, folder: Path) -> Ratio:
    """Compare a server with a process that has used the same library and style."""
    file = folder / "photo.jpg"
    file.write_bytes(data)
    command = [sys.executable, "-c", _LIBRARY, style, str(workers), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the library has failed"
        library = resident_mib(process.pid)
        process.communicate()
    with server(style, workers) as (pid, port):
        for _ in range(5):
            assert ask(port, "POST", PATH, data)[0] == 200
        served = resident_mib(pid)
    print(
        f"memory: library {library:.0f} MiB, server {served:.0f} MiB, "
        f"added {served - library:.0f} MiB"
    )
    return Ratio("MiB that serving adds to the library", served - library, at_most=40)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the server, and look at its memory.")
    parser.add_argument("--count", type=int, default=20, help="pictures in each round")
    parser.add_argument("--megapixels", type=float, default=2, help="of the pictures")
    parser.add_argument("--connections", type=int, default=400, help="at once")
    parser.add_argument("--requests", type=int, default=2000, help="for the memory, small ones")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--style", default="comic")
    options = parser.parse_args(arguments)
    counts = (options.count, options.connections, options.requests, options.workers)
    if min(counts) < 1 or options.count < 2:
        parser.error("all at least 1, --count 2")
    return options


def main(arguments: Sequence[str] | None = None) -> list[Ratio]:
    """Run it; `arguments` are the command line's."""
    options = parse_options(arguments)
    style, workers = options.style, options.workers
    data, small = photo(options.megapixels), photo(0.01)
    print(
        f"{style}, {workers} workers, JPEG of {options.megapixels:g} megapixels, "
        f"median of {ROUNDS} rounds of {options.count}"
    )
    with tempfile.TemporaryDirectory() as folder:
        ratios = [added_memory(style, workers, small, Path(folder))]
    with server(style, workers) as (pid, port):
        ratios.append(compare_rates(pid, port, style, workers, data, options.count))
        storm(port, small, options.connections)
        ratios.append(look_for_leaks(pid, port, small, options.requests, workers + 1))
    print_ratios(ratios)
    return ratios


if __name__ == "__main__":
    main()
