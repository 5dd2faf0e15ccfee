"""Graphics hardware: what is chosen, and what happens where there is none or it fails."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from toonbox.errors import UsageError, VideoError
from toonbox.video import hardware
from toonbox.video.hardware import encodes, hardware_encoder, hardware_options
from toonbox.video.pipeline import cartoonize_video
from toonbox.video.read import read_frames, read_video
from toonbox.video.write import Encoding
from video_files import Clip, times

SIZE = (320, 240)


@pytest.fixture
def every_encoder(monkeypatch):
    """Let FFmpeg know all of them, whatever the platform."""
    monkeypatch.setattr(av, "codecs_available", set(hardware._ENCODERS))


@pytest.mark.parametrize(
    ("codec", "working", "chosen"),
    [
        ("h264", {"h264_qsv", "h264_amf"}, "h264_qsv"),
        ("hevc", {"hevc_videotoolbox", "h264_nvenc"}, "hevc_videotoolbox"),
        ("av1", {"av1_nvenc", "av1_qsv"}, "av1_nvenc"),
        ("vp9", {"h264_nvenc"}, None),
        ("h264", set(), None),
    ],
)
def test_the_first_that_works_is_taken(every_encoder, codec, working, chosen):
    asked = []

    def works(name, options, size):
        asked.append(name)
        assert options == hardware_options(name, 20)
        assert size == SIZE
        return name in working

    assert hardware_encoder(codec, 20, SIZE, works) == chosen
    assert all(name.startswith(codec) for name in asked)
    assert asked[-1:] == ([chosen] if chosen else asked[-1:])


def test_what_ffmpeg_does_not_know_is_not_tried(monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"h264_amf"})
    asked = []
    assert hardware_encoder("h264", 20, SIZE, lambda name, *_: asked.append(name)) is None
    assert asked == ["h264_amf"]


@pytest.mark.parametrize("name", ["h264_nvenc", "h264_there_is_none", "libx264"])
def test_an_encoder_is_tried_by_encoding(name):
    """Here h264_nvenc is known and cannot be opened; where it can, it encodes."""
    works = encodes(name, {}, SIZE)
    if name == "libx264":
        assert works
        assert not encodes(name, {"profile": "there is none"}, SIZE)
    elif name != "h264_nvenc":
        assert not works
    else:
        assert isinstance(works, bool)


@pytest.mark.parametrize(
    ("name", "crf", "options"),
    [
        ("h264_nvenc", 0, {"rc": "vbr", "cq": "1", "b": "0"}),
        ("h264_videotoolbox", 20, {"global_quality": str(65 * 118)}),
        ("h264_videotoolbox", 51, {"global_quality": str(11 * 118), "flags": "+qscale"}),
        ("hevc_qsv", 24, {"global_quality": "24"}),
        ("hevc_amf", 24, {"rc": "cqp", "qp_i": "24", "qp_p": "24"}),
    ],
)
def test_crf_in_the_words_of_the_encoder(name, crf, options):
    assert options.items() <= hardware_options(name, crf).items()


def test_encoding_in_hardware(every_encoder):
    asked = []

    def works(name, options, size):
        asked.append((name, options["cq"], size))
        return True

    encoding = Encoding("av1", 63).in_hardware((319, 240), works)
    assert (encoding.encoder, encoding.options(320)["cq"]) == ("av1_nvenc", "51")
    assert asked == [("av1_nvenc", "51", SIZE)]
    software = Encoding("h264").in_hardware(SIZE, lambda *_: False)
    assert software == Encoding("h264")
    assert software.encoder == "libx264"


UNEVEN = [1001, 2002, 3003, 5005, 5500, 11011, 12012, 12100]


def test_times_are_exact_whatever_encodes(tiny_style, tmp_path, monkeypatch, caplog):
    """A software encoder in the place of hardware's: other pixels, frames out of order."""
    monkeypatch.setitem(hardware._ENCODERS, "libx264", lambda crf: {"crf": str(crf), "bf": "3"})
    monkeypatch.setattr("toonbox.video.write.hardware_encoder", lambda *_: "libx264")
    made = Clip(size=(65, 49), pts=UNEVEN, last=900, time_base=Fraction(1, 30000))
    clip = replace(made, codec="libvpx-vp9", options={"crf": "20"}).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mp4", style=tiny_style(), hardware="auto")
    assert [time for time, _ in times(tmp_path / "toon.mp4")] == [time for time, _ in times(clip)]
    assert "encoded by libx264" in caplog.text
    with av.open(str(tmp_path / "toon.mp4")) as container:
        assert container.streams.video[0].codec_context.width == 66


@pytest.mark.parametrize("options", [{"hardware": "auto"}, {"hardware": "off"}])
def test_with_whatever_is_here(tiny_style, tmp_path, caplog, options):
    clip = Clip().make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mp4", style=tiny_style(), **options)
    assert times(tmp_path / "toon.mp4") == times(clip)
    assert ("encoded by" in caplog.text) == (options["hardware"] == "auto")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hardware": "gpu"}, "hardware must be auto or off"),
        ({"hardware": "auto", "encoder_preset": "fast"}, "--encoder-preset is for software"),
    ],
)
def test_wrong_options(tiny_style, tmp_path, options, message):
    clip = Clip(pts=[0]).make(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=message):
        cartoonize_video(clip, tmp_path / "toon.mp4", style=tiny_style(), **options)


def decoded(video):
    return [(frame.pts, frame.duration, frame.photo) for frame in read_frames(video)]


@pytest.mark.parametrize("format", ["yuv420p", "yuv422p10le"])
def test_decoding_falls_back_to_software(tmp_path, monkeypatch, format):
    """Cuda fails to open where there is none; the others know no way for this file here."""
    monkeypatch.setattr(
        "toonbox.video.read.hardware_devices", lambda: ["cuda", "qsv", "there is none"]
    )
    clip = Clip(turned={"degrees": 90}, format=format).make(tmp_path / "clip.mp4")
    plain, fallen = read_video(clip), read_video(clip, hardware=True)
    assert replace(fallen, device=None) == plain
    accelerated = replace(plain, device="qsv")
    for video in (fallen, accelerated):
        for ours, theirs in zip(decoded(video), decoded(plain), strict=True):
            assert ours[:2] == theirs[:2]
            np.testing.assert_allclose(ours[2].astype(int), theirs[2], atol=2)


def test_a_file_that_is_none_stays_an_error(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no film")
    with pytest.raises(VideoError, match="is no video"):
        read_video(tmp_path / "clip.mp4", hardware=True)
