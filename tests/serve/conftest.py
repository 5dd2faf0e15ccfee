import io
import tempfile

import pytest
from PIL import Image

import serving
from picture_files import smooth
from video_files import Clip, motion


@pytest.fixture(scope="session")
def photo():
    """The bytes of a JPEG photo."""
    stream = io.BytesIO()
    Image.fromarray(smooth()).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory):
    """The bytes of a video that takes much longer than a test."""
    clip = Clip(pts=list(range(3000)), frames=list(motion(30)) * 100, sound=None)
    return clip.make(tmp_path_factory.mktemp("clips") / "long.mp4").read_bytes()


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """The folder for temporary files, which must be empty when the server has ended."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def style_folder(tiny_style, tmp_path_factory, monkeypatch):
    """A folder of styles that the server knows, with the style "tiny"."""
    styles = tmp_path_factory.mktemp("styles")
    monkeypatch.setenv("TOONBOX_STYLES", str(styles))
    return tiny_style(to=styles, knobs=("surface",))


@pytest.fixture
def serve(style_folder, spool):
    """Start servers with the style "tiny": serve(**options). Nothing may be left on disk."""
    started = []

    def start(**options):
        started.append(serving.start(**{"style": "tiny", **options}))
        return started[-1]

    yield start
    for server in started:
        server.stop()
    assert [*spool.iterdir()] == []
    assert [error for server in started for error in server.reported] == []
