import os
import subprocess
import sys

import pytest

from toonbox import atomic as files
from toonbox.atomic import folder_beside, replacing


@pytest.fixture(autouse=True)
def new_process():
    """Leftovers are looked for once in a folder and process."""
    files._remove_leftovers.cache_clear()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nothing_has_the_final_name_until_all_is_written(tmp_path):
    target = tmp_path / "a.png"
    with replacing(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".png"
    assert names(tmp_path) == ["a.png"]
    assert target.read_bytes() == b"half"


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_what_fails_leaves_nothing_and_keeps_what_was_there(error, tmp_path):
    (tmp_path / "a.png").write_bytes(b"old")

    def write():
        with replacing(tmp_path / "a.png") as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_names_as_long_as_they_can_be(tmp_path):
    for name in ("ü" * 125 + ".jpg", "a." + "s" * 253):
        with replacing(tmp_path / name) as temporary:
            temporary.write_bytes(b"x")
        assert (tmp_path / name).read_bytes() == b"x"


KILLED = """
import os, signal, sys
from pathlib import Path
from toonbox.atomic import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_leftover_of_a_killed_process_goes_with_the_next_one(tmp_path):
    pytest.importorskip("fcntl", reason="leftovers stay where there are no locks")
    target = tmp_path / "a.png"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    (leftover,) = names(tmp_path)  # the second process has removed that of the first
    (tmp_path / ".toonbox-notes").write_text("not ours")
    (tmp_path / ".other.part.png").write_text("not ours")
    with replacing(tmp_path / "b.png") as temporary:
        temporary.write_bytes(b"whole")
    assert leftover.startswith(".toonbox-")
    assert names(tmp_path) == [".other.part.png", ".toonbox-notes", "b.png"]


def test_what_another_is_writing_is_no_leftover(tmp_path):
    with replacing(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"whole")
        # Another process, because locks are a process's own.
        other = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")
        subprocess.run([sys.executable, "-c", other, str(tmp_path / "b.png")], check=True)
        files._remove_leftovers.cache_clear()
        with replacing(tmp_path / "c.png") as own:
            own.write_bytes(b"whole")
    assert names(tmp_path) == ["a.png", "b.png", "c.png"]


FOLDER = """
import os, signal, sys
from pathlib import Path
from toonbox.atomic import folder_beside
with folder_beside(Path(sys.argv[1])) as folder:
    (folder / "more").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_folder_of_a_killed_process_goes_with_the_next_one(tmp_path):
    pytest.importorskip("fcntl", reason="leftovers stay where there are no locks")
    subprocess.run([sys.executable, "-c", FOLDER, tmp_path / "a.mp4"], check=False)
    (leftover,) = tmp_path.iterdir()
    assert (leftover / "more").exists()
    with folder_beside(tmp_path / "b.mp4") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    assert names(tmp_path) == []


def test_the_folder_of_another_is_no_leftover(tmp_path):
    with folder_beside(tmp_path / "a.mp4") as folder:
        (folder / "more").write_bytes(b"half")
        subprocess.run([sys.executable, "-c", FOLDER, tmp_path / "b.mp4"], check=False)
        assert (folder / "more").exists()


@pytest.mark.parametrize("give", [replacing, folder_beside])
def test_what_another_removes_before_it_is_locked_is_made_anew(give, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="leftovers stay where there are no locks")
    real, removed = fcntl.flock, []

    def late(descriptor, operation):
        if not removed:  # another process begins between making and locking
            removed.extend(names(tmp_path))
            other = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")
            subprocess.run([sys.executable, "-c", other, tmp_path / "other.png"], check=True)
            assert names(tmp_path) == ["other.png"]
        real(descriptor, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with give(tmp_path / "a.png") as temporary:
        assert temporary.exists()
        assert temporary.name not in removed
    assert len(removed) == 1


def test_a_link_that_looks_like_a_leftover_leads_nowhere(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"mine")
    (tmp_path / ".toonbox-0.part").symlink_to(tmp_path / "mine", target_is_directory=True)
    with replacing(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"whole")
    assert (tmp_path / "mine" / "photo.png").read_bytes() == b"mine"


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".toonbox-0.part.png").write_bytes(b"half")
    with replacing(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"whole")
    assert names(tmp_path) == [".toonbox-0.part.png", "a.png"]


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, os.strerror(95))

    (tmp_path / ".toonbox-0.part.png").write_bytes(b"half")
    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with replacing(tmp_path / "a.png") as temporary:
        temporary.write_bytes(b"whole")
    assert names(tmp_path) == [".toonbox-0.part.png", "a.png"]
