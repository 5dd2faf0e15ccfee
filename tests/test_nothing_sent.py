"""toonbox under strace, in an empty home, with every socket denied: none of a network is wanted.

Ray's processes need sockets: theirs are watched.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ray_settings import PATIENT_RAY

DENIED = ["-e", "trace=socket", "-e", "inject=socket:error=EACCES"]
WATCHED = ["-e", "trace=bind,connect,sendto,sendmsg,sendmmsg"]
STRACE = ["strace", "-f", "--seccomp-bpf"]
ENGINES = ["onnxruntime", "openvino"]

LIBRARY = """
import sys, numpy, toonbox
photo = numpy.zeros((16, 24, 3), numpy.uint8)
toonbox.load_style(sys.argv[1], engine=sys.argv[2])(photo)
"""

WORKER = """
import multiprocessing, sys, numpy
from toonbox.engine.style import load_style

def work(folder, engine):
    load_style(folder, engine=engine)(numpy.zeros((16, 24, 3), numpy.uint8))

if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=work, args=sys.argv[1:])
    worker.start()
    worker.join()
    sys.exit(worker.exitcode)
"""

EXPORT = """
import sys
from pathlib import Path
from toonbox.learn.export import draw_preview
draw_preview(Path(sys.argv[1]))
"""

TRAINING = """
import toonbox.learn.train, toonbox.learn.evaluate.evaluate, toonbox.learn.import_tfjs
"""


@pytest.fixture
def watched(tmp_path):
    """Give a function that runs Python: the sockets it asked for, the files it left at home."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace: apt-get install strace")

    def run(*arguments, strace=DENIED, found=r"socket\(AF_INET.*", **environment):
        home, trace = tmp_path / "home", tmp_path / "trace"
        home.mkdir()
        # Not the whole environment: in what looks like CI, nothing would be sent anyway.
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        done = subprocess.run(
            [*STRACE, *strace, "-o", trace, sys.executable, *map(str, arguments)],
            env={
                **kept,
                **environment,
                "HOME": str(home),
                "MPLCONFIGDIR": str(home.parent / "matplotlib"),
            },
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        text = trace.read_text()
        assert "exited with 0" in text  # it was traced
        left = [str(path.relative_to(home)) for path in home.rglob("*")]
        # With every socket denied, whoever looks up a name ends at one of these.
        return re.findall(found, text), left

    return run


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    Image.fromarray(np.zeros((16, 24, 3), np.uint8)).save(file)
    return file


def script(folder: Path, text: str) -> Path:
    file = folder / "script.py"
    file.write_text(text)
    return file


@pytest.mark.parametrize("engine", ENGINES)
def test_the_command(watched, tiny_style, photo, tmp_path, engine):
    pytest.importorskip(engine)
    options = ("--style", tiny_style(), "--engine", engine)
    found = watched("-m", "toonbox", photo, "-o", tmp_path / "out.png", *options)
    assert (tmp_path / "out.png").exists()
    assert found == ([], [])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("text", [LIBRARY, WORKER])
def test_the_library_and_a_worker(watched, tiny_style, tmp_path, text, engine):
    pytest.importorskip(engine)
    assert watched(script(tmp_path, text), tiny_style(), engine) == ([], [])


@pytest.mark.slow
def test_a_cluster_on_this_machine(watched, tiny_style, photo, tmp_path):
    """Its processes talk to each other; all that stays at home is Ray's own key for that."""
    pytest.importorskip("ray.data")
    options = ("--style", tiny_style(), "--engine", "ray")
    addresses, left = watched(
        *("-m", "toonbox", photo, "-o", tmp_path / "out.png", *options),
        strace=WATCHED,
        found=r'sa_family=AF_INET.*?"([^"]+)"',
        **PATIENT_RAY,
    )
    assert (tmp_path / "out.png").exists()
    assert set(addresses) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert "127.0.0.1" in addresses
    assert {name.partition("/")[0] for name in left} <= {".ray"}


@pytest.mark.slow
def test_export_and_training(watched, tiny_style, tmp_path):
    pytest.importorskip("torch")
    assert watched(script(tmp_path, EXPORT + TRAINING), tiny_style()) == ([], [])


def test_what_the_user_has_set_stays(tmp_path):
    text = "import os, toonbox; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for told, expected in ({"ORT_DISABLE_TELEMETRY": "0"}, "0"), ({}, "1"):
        environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        command = [sys.executable, "-c", text]
        done = subprocess.run(command, env=environment | told, capture_output=True, check=True)
        assert done.stdout.decode().strip() == expected
