"""Whole videos, from disk to disk."""

import math
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import replace
from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest

from picture_files import OddError
from toonbox.engine.style import load_style
from toonbox.errors import OutputError, UnexpectedError, UsageError, VideoError
from toonbox.options import StyleOptions
from toonbox.video.pipeline import cartoonize_video
from toonbox.video.read import Frame, read_frames, read_video
from toonbox.video.stylizer import video_frames, video_style_options
from video_files import REPEATABLE, Clip, motion, needs_ffmpeg, packets, pictures, probe, times


@pytest.fixture
def style(tiny_style, tmp_path_factory):
    return tiny_style(to=tmp_path_factory.mktemp("styles"))


MILLISECOND = Fraction(1, 1000)  # in which Matroska counts


def test_times_and_sound_are_as_they_were(tmp_path, style):
    clip = Clip().make(tmp_path / "clip.mp4")
    result = cartoonize_video(clip, tmp_path / "toon.mp4", style=style)
    assert (result.frames, result.size) == (24, (64, 48))
    assert result.complete
    assert result.written
    assert times(tmp_path / "toon.mp4") == times(clip)
    assert packets(tmp_path / "toon.mp4", "audio") == packets(clip, "audio")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "toon.mp4"]
    difference = np.abs(pictures(tmp_path / "toon.mp4").astype(int) - pictures(clip))
    assert difference.mean() > 3  # it is drawn


def test_in_matroska_all_stays_together(tmp_path, style):
    """AAC begins before 0, which Matroska cannot: everything moves by as much."""
    clip = Clip().make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mkv", style=style)
    heard, sound = (packets(tmp_path / name, "audio") for name in ("toon.mkv", "clip.mp4"))
    shift = heard[0][0] - sound[0][0]
    assert [packet[2] for packet in heard] == [packet[2] for packet in sound]
    for ours, theirs in zip(times(tmp_path / "toon.mkv"), times(clip), strict=True):
        assert abs(ours[0] - theirs[0] - shift) <= MILLISECOND


def test_without_sound(tmp_path, style):
    clip = Clip(sound=None).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mkv", style=style)
    with av.open(str(tmp_path / "toon.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


UNEVEN = [15015, 16016, 17017, 19019, 19520, 25025, 26026, 26100]


def test_uneven_times_and_a_late_beginning(tmp_path, style):
    clip = Clip(pts=UNEVEN, last=1500, time_base=Fraction(1, 30000), rate=Fraction(30000, 1001))
    source = clip.make(tmp_path / "clip.mp4")
    cartoonize_video(source, tmp_path / "toon.mp4", style=style)
    shown = times(tmp_path / "toon.mp4")
    assert [time for time, _ in shown] == [Fraction(pts, 30000) for pts in UNEVEN]
    assert packets(tmp_path / "toon.mp4", "audio") == packets(source, "audio")


EVERYTHING = Clip(
    sound="aac",
    subtitles="subrip",
    metadata={"title": "A trip", "artist": "Ann", "location": "+47+008/"},
    chapters=[
        {"id": 1, "start": 0, "end": 400, "time_base": MILLISECOND, "metadata": {"title": "Out"}},
        {"id": 2, "start": 400, "end": 1000, "time_base": MILLISECOND, "metadata": {"title": "In"}},
    ],
    attachment=b"not really a font",
)


def told(path):
    """Give the title, the chapters as (title, start, end) and all streams but pictures."""
    with av.open(str(path)) as container:
        chapters = [
            (
                chapter["metadata"]["title"],
                float(chapter["start"] * chapter["time_base"]),
                float(chapter["end"] * chapter["time_base"]),
            )
            for chapter in container.chapters()
        ]
        names = [
            getattr(stream.codec_context, "name", stream.type)
            for stream in container.streams
            if stream.type not in ("video", "data")
        ]
        metadata = {key.lower(): value for key, value in container.metadata.items()}
        return metadata, chapters, names


def spoken(path):
    """Give when each subtitle begins, how long it lasts, and its text."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        shown = [
            (
                float(packet.pts * packet.time_base),
                float(packet.duration * packet.time_base),
                subtitle.dialogue,
            )
            for packet in container.demux(stream)
            if packet.size
            for subtitle in stream.codec_context.decode(packet)
        ]
    told = [subtitle for subtitle in shown if subtitle[2]]  # MP4 has silence, too
    return tuple(zip(*told, strict=True))


@pytest.mark.parametrize(
    ("suffix", "names"),
    [
        (".mkv", ["aac", "srt", "attachment"]),
        (".mp4", ["aac", "mov_text"]),
        (".mov", ["aac", "mov_text"]),
        (".webm", ["opus", "webvtt"]),
    ],
)
def test_all_that_goes_with_it(tmp_path, style, caplog, suffix, names):
    clip = EVERYTHING.make(tmp_path / "clip.mkv")
    target = tmp_path / f"toon{suffix}"
    cartoonize_video(clip, target, style=style)
    metadata, chapters, there = told(target)
    assert [name.replace("libopus", "opus") for name in there] == names
    assert (metadata["title"], metadata["artist"]) == ("A trip", "Ann")
    shift = chapters[0][1]  # sound that begins before 0, see above
    assert chapters == [
        ("Out", shift, pytest.approx(0.4 + shift, abs=1e-3)),
        ("In", pytest.approx(0.4 + shift, abs=1e-3), pytest.approx(1 + shift, abs=0.05)),
    ]
    with av.open(str(target)) as container:
        stream = container.streams.subtitles[0]
        assert stream.language == ("ger" if suffix == ".mov" else "deu")  # two codes of German
    begins, lengths, texts = spoken(target)
    assert texts == (b"Guten Tag", b"Auf Wiedersehen")
    assert begins == pytest.approx((0.1, 0.55), abs=0.03)
    assert lengths == pytest.approx((0.4, 0.4), abs=0.01)
    assert ("left out: stream 3 (attachment)" in caplog.text) == (suffix != ".mkv")
    assert ("the sound becomes opus" in caplog.text) == (suffix == ".webm")


def test_sound_encoded_anew_stays_in_time(tmp_path, style):
    """A beep in silence, found in what was decoded from AAC and from Opus."""
    clip = EVERYTHING.make(tmp_path / "clip.mkv")
    cartoonize_video(clip, tmp_path / "toon.webm", style=style, encoder_preset="8")

    def energy(path):
        with av.open(str(path)) as container:
            heard = []
            for frame in container.decode(audio=0):
                level = np.abs(frame.to_ndarray().astype(float)).mean()
                heard.append((float(frame.pts * frame.time_base), level))
            loud = [time for time, level in heard if level > 0.05]
            return min(loud), max(loud)

    pictures_shift = times(tmp_path / "toon.webm")[0][0] - times(clip)[0][0]
    ours, theirs = energy(tmp_path / "toon.webm"), energy(clip)
    assert theirs == pytest.approx((0.25, 0.75), abs=0.05)
    assert ours == pytest.approx([time + float(pictures_shift) for time in theirs], abs=0.05)


@pytest.mark.parametrize(
    ("source", "sound", "layout", "target", "expected"),
    [  # AVI and Matroska do not tell the layout of samples
        ("a.avi", "pcm_s16le", "stereo", "b.mp4", ("pcm_s16le", "stereo")),
        ("a.mkv", "pcm_s24le", "5.1", "b.mp4", ("pcm_s24le", "5.1")),
        ("a.avi", "pcm_mulaw", "stereo", "b.mp4", ("aac", "stereo")),
        ("a.avi", "adpcm_ms", "mono", "b.mkv", ("aac", "mono")),
        ("a.mkv", "ac3", "5.1(side)", "b.webm", ("opus", "5.1")),
        ("a.mov", "pcm_s16le", "2.1", "b.webm", ("opus", "3.0")),
        ("a.mov", "pcm_s16le", "6.1", "b.webm", ("opus", "6.1")),  # a layout without a name
        ("a.mov", "pcm_s16le", "22.2", "b.webm", None),
        ("a.mkv", "pcm_s16le", "22.2", "b.mp4", None),
        ("a.mkv", "libopus", "stereo", "b.mov", ("aac", "stereo")),
        ("a.mkv", "flac", "stereo", "b.mov", ("aac", "stereo")),
        ("a.mkv", "ac3", "stereo", "b.mp4", ("ac3", "stereo")),
    ],
)
def test_sound_that_containers_refuse(
    tmp_path, style, caplog, source, sound, layout, target, expected
):
    clip = Clip(pts=list(range(6)), sound=sound, layout=layout)
    cartoonize_video(clip.make(tmp_path / source), tmp_path / target, style=style)
    if expected is None:
        assert "left out: stream 1 (audio, pcm_s16le)" in caplog.text
        return
    with av.open(str(tmp_path / target)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected[0]
        frames = list(container.decode(audio=0))
    assert frames[0].layout.name == expected[1]
    seconds = sum(frame.samples for frame in frames) / frames[0].sample_rate
    assert seconds == pytest.approx(0.25, abs=0.05)
    assert max(np.abs(frame.to_ndarray()).max() for frame in frames) > 0.05


@pytest.mark.parametrize(("rate", "expected"), [(192_000, 96_000), (12_345, 12_000)])
def test_rates_that_aac_does_not_know(tmp_path, style, rate, expected):
    clip = Clip(pts=list(range(6)), sound="pcm_mulaw", sound_rate=rate).make(tmp_path / "clip.avi")
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style)
    with av.open(str(tmp_path / "toon.mp4")) as container:
        assert container.streams.audio[0].rate == expected
        heard = sum(frame.samples for frame in container.decode(audio=0)) / expected
    assert heard == pytest.approx(0.25, abs=0.15)


@pytest.mark.parametrize(
    ("keep", "there"),
    [("keep", {"title", "location"}), ("no-gps", {"title"}), ("strip", set())],
)
def test_metadata_that_is_kept(tmp_path, style, keep, there):
    clip = EVERYTHING.make(tmp_path / "clip.mkv")
    cartoonize_video(clip, tmp_path / "toon.mkv", style=style, metadata=keep)
    metadata, chapters, names = told(tmp_path / "toon.mkv")
    assert set(metadata) & {"title", "location"} == there
    assert len(chapters) == 2
    assert len(names) == 3


def test_a_part_begins_at_nothing(tmp_path, style):
    clip = EVERYTHING.make(tmp_path / "clip.mkv")
    cartoonize_video(clip, tmp_path / "part.mp4", style=style, start=0.25, end=0.75)
    source = times(clip)
    first = next(time for time, _ in source if time - source[0][0] >= Fraction(1, 4))
    wanted = [time - first for time, _ in source if first <= time < source[0][0] + Fraction(3, 4)]
    assert [time for time, _ in times(tmp_path / "part.mp4")] == wanted
    sound = {packet[2]: packet[0] for packet in packets(clip, "audio")}
    heard = packets(tmp_path / "part.mp4", "audio")
    assert len(heard) == pytest.approx(0.5 * 48_000 / 1024, abs=2)
    for at, _, sha256 in heard:
        assert abs(sound[sha256] - first - at) <= MILLISECOND
    _, chapters, _ = told(tmp_path / "part.mp4")
    assert [title for title, _, _ in chapters] == ["Out", "In"]
    assert chapters[1][1] == pytest.approx(0.4 - float(first), abs=0.002)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov", ".webm"])
def test_a_part_cuts_subtitles_at_its_ends(tmp_path, style, suffix):
    """One from 0.1 to 0.5 seconds, the next from 0.55 to 0.95."""
    clip = replace(EVERYTHING, sound=None).make(tmp_path / "clip.mkv")
    cartoonize_video(clip, tmp_path / f"part{suffix}", style=style, start=0.25, end=0.75)
    begins, lengths, texts = spoken(tmp_path / f"part{suffix}")
    assert texts == (b"Guten Tag", b"Auf Wiedersehen")
    assert begins == pytest.approx((0, 0.3), abs=0.002)
    assert lengths == pytest.approx((0.25, 0.2), abs=0.002)
    cartoonize_video(clip, tmp_path / f"later{suffix}", style=style, start=0.51)
    assert spoken(tmp_path / f"later{suffix}")[2] == (b"Auf Wiedersehen",)


@pytest.mark.parametrize(
    ("name", "codec", "suffix"),
    [("clip.ts", "libx264", ".mp4"), ("clip.mpg", "mpeg2video", ".mkv")],
)
@pytest.mark.parametrize(("start", "end"), [(None, None), (None, 0.5), (0.5, None)])
def test_a_senders_clock_begins_at_nothing(tmp_path, style, name, codec, suffix, start, end):
    """A recording from hour ten on; pictures and sound move by as much."""
    late = [36_000 * 24 + number for number in range(24)]
    clip = Clip(pts=late, codec=codec, options={}, sound="mp2").make(tmp_path / name)
    target = tmp_path / f"toon{suffix}"
    cartoonize_video(clip, target, style=style, start=start, end=end)
    wanted = [at for at, _ in times(clip)]
    wanted = wanted[:12] if end else wanted[12:] if start else wanted
    shown = [at for at, _ in times(target)]
    shift = wanted[0] - shown[0]
    assert 0 <= shown[0] < 0.05
    assert shown == pytest.approx([float(at - shift) for at in wanted], abs=0.001)
    heard = {packet[2]: packet[0] for packet in packets(clip, "audio")}
    ours = packets(target, "audio")
    assert len(ours) == pytest.approx(len(heard) / 2 if start or end else len(heard), abs=2)
    for at, _, sha256 in ours:
        assert abs(heard[sha256] - shift - at) <= MILLISECOND


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_clock_that_jumps_back(tmp_path, style, caplog, suffix):
    """Two videos in one file: what comes before what was there already is skipped."""
    clip = Clip(pts=list(range(12)), sound="mp2").make(tmp_path / "clip.ts")
    longer = Clip(sound="mp2").make(tmp_path / "longer.ts")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(clip.read_bytes() + longer.read_bytes())
    target = tmp_path / f"toon{suffix}"
    cartoonize_video(joined, target, style=style)
    assert caplog.text.count("joined.ts: its clock jumps back") == 1
    with av.open(str(target)) as container:
        assert container.duration == pytest.approx(av.time_base, abs=0.06 * av.time_base)
    assert len(times(target)) == 24
    heard = [at for at, _, _ in packets(target, "audio")]
    assert heard == sorted(set(heard))
    assert heard[-1] == pytest.approx(1, abs=0.06)


def test_a_part_ends_within_a_long_frame(tmp_path, style):
    """Slides, for example."""
    clip = Clip(pts=[0, 10, 20], time_base=Fraction(1), rate=None, sound=None)
    source = clip.make(tmp_path / "clip.mkv")
    cartoonize_video(source, tmp_path / "part.mp4", style=style, end=15)
    with av.open(str(tmp_path / "part.mp4")) as container:
        assert container.duration == pytest.approx(15 * av.time_base, rel=0.01)
    assert [time for time, _ in times(tmp_path / "part.mp4")] == [0, 10]


@pytest.mark.parametrize(("start", "end"), [(5.0, None), (0.99, 0.995)])
def test_a_part_without_frames(tmp_path, style, start, end):
    clip = Clip().make(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="no frames in the requested part"):
        cartoonize_video(clip, tmp_path / "part.mp4", style=style, start=start, end=end)
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_codecs(tmp_path, style, codec):
    clip = Clip(pts=list(range(6))).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style, codec=codec)
    assert times(tmp_path / "toon.mp4") == times(clip)
    with av.open(str(tmp_path / "toon.mp4")) as container:
        name = container.streams.video[0].codec_context.codec.canonical_name
    assert name == codec


COLOURS = {"color_range": 2, "colorspace": 6, "color_primaries": 5, "color_trc": 6}


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_colours_and_aspect_are_carried_over(tmp_path, style, codec):
    clip = Clip(pts=[0, 1, 2], colours=COLOURS, aspect=Fraction(16, 11), options={"crf": "5"})
    source = clip.make(tmp_path / "clip.mp4")
    cartoonize_video(source, tmp_path / "toon.mp4", style=style, codec=codec, strength=0, crf=5)
    with av.open(str(tmp_path / "toon.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.sample_aspect_ratio == Fraction(16, 11)
        frame = next(container.decode(video=0))
        assert frame.color_range == 2
        if codec != "vp9":  # which tells only the matrix, and that in its own way
            assert [frame.colorspace, frame.color_primaries, frame.color_trc] == [6, 5, 6]
    difference = pictures(tmp_path / "toon.mp4").astype(int) - pictures(source)
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 1.5  # neither lighter nor of other hue
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
@pytest.mark.parametrize(
    ("size", "options", "matrix"),
    [((256, 600), {"max_height": 300}, 1), ((640, 32), {"compare": "side"}, 6)],
)
def test_a_matrix_that_is_assumed_is_told_at_another_size(
    tmp_path, style, codec, size, options, matrix
):
    red = np.full((*size[::-1], 3), (200, 60, 40), np.uint8)
    clip = Clip(size=size, pts=[0], frames=[red]).make(tmp_path / "clip.mp4")
    target = tmp_path / "toon.mp4"
    cartoonize_video(clip, target, style=style, codec=codec, strength=0, crf=5, **options)
    ours, theirs = (
        next(read_frames(read_video(path))).photo.mean(axis=(0, 1)) for path in (target, clip)
    )
    np.testing.assert_allclose(ours, theirs, atol=2)
    told = read_video(target).colours.matrix
    assert told in ((5, 6) if matrix == 6 else (1,))  # VP9 has another number for it


@needs_ffmpeg
def test_what_ffprobe_says(tmp_path, style):
    clip = Clip(colours=COLOURS, aspect=Fraction(4, 3), turned={"degrees": 90})
    source = clip.make(tmp_path / "clip.mp4")
    target = tmp_path / "toon.mp4"
    cartoonize_video(source, target, style=style)
    sound = ("-select_streams", "a", "-show_entries", "packet=pts_time,data_hash")
    hashed = ("-show_data_hash", "sha256")
    assert probe(target, *sound, *hashed) == probe(source, *sound, *hashed)
    shown = ("-select_streams", "v", "-show_entries", "frame=best_effort_timestamp_time")
    assert probe(target, *shown) == probe(source, *shown)
    wanted = "stream=codec_name,width,height,pix_fmt,sample_aspect_ratio,color_range,color_space"
    (facts,) = probe(target, "-select_streams", "v", "-show_entries", wanted)
    assert facts == "h264,48,64,3:4,yuvj420p,pc,smpte170m"
    length = ("-show_entries", "format=duration")
    ours, theirs = (float(*probe(path, *length)) for path in (target, source))
    assert ours == pytest.approx(theirs, abs=0.03)


APPLES = {
    "com.apple.quicktime.creationdate": "2024-05-01T12:00:00+0200",
    "com.apple.quicktime.location.ISO6709": "+47.1+008.2/",
    "title": "A trip",
}


@needs_ffmpeg
@pytest.mark.parametrize(("codec", "tag"), [("h264", "avc1"), ("hevc", "hvc1")])
@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_quicktime(tmp_path, style, caplog, suffix, codec, tag):
    """A camera's video: sound without compression, a time code, a telephone's metadata."""
    plain = Clip(sound="pcm_s16le", metadata=APPLES, pts=UNEVEN, last=1500,
                 time_base=Fraction(1, 30000), rate=Fraction(30000, 1001)).make(
        tmp_path / "plain.mov")  # fmt: skip
    source, target = tmp_path / "clip.mov", tmp_path / f"toon{suffix}"
    command = ["ffmpeg", "-v", "error", "-i", plain, "-c", "copy", "-timecode", "01:00:00:00"]
    for key, value in APPLES.items():
        command += ["-metadata", f"{key}={value}"]
    subprocess.run([*command, "-movflags", "use_metadata_tags", source], check=True)
    cartoonize_video(source, target, style=style, codec=codec)
    asked = ("-select_streams", "v", "-show_entries")
    facts = "stream=codec_name,codec_tag_string:stream_tags=timecode"
    assert probe(target, *asked, facts) == [f"{codec},{tag},01:00:00:00"]
    shown = [sorted(probe(path, *asked, "packet=pts_time")) for path in (target, source)]
    assert shown[0] == shown[1]
    sound = (
        "-select_streams",
        "a",
        "-show_data_hash",
        "sha256",
        "-show_entries",
        "packet=data_hash",
    )
    assert probe(target, *sound) == probe(source, *sound)
    brand = ("-show_entries", "format_tags=major_brand")
    assert probe(target, *brand) == ["qt" if suffix == ".mov" else "isom"]
    with av.open(str(target)) as container:
        kept = {key: value for key, value in APPLES.items() if container.metadata.get(key) == value}
    assert kept == (APPLES if suffix == ".mov" else {"title": "A trip"})
    assert "left out" not in caplog.text
    cartoonize_video(source, tmp_path / f"part{suffix}", style=style, start=0.05, codec=codec)
    assert probe(tmp_path / f"part{suffix}", *asked, facts) == [f"{codec},{tag}"]


@pytest.mark.parametrize(("codec", "size"), [("h264", (66, 50)), ("vp9", (65, 49))])
def test_odd_sizes(tmp_path, style, codec, size):
    clip = Clip(pts=[0, 1, 2], size=(65, 49), codec="libvpx-vp9", options={"crf": "10"}).make(
        tmp_path / "clip.mkv"
    )
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style, codec=codec, strength=0, crf=5)
    ours = pictures(tmp_path / "toon.mp4")
    assert ours.shape == (3, size[1], size[0], 3)
    assert np.abs(ours[:, :49, :65].astype(int) - pictures(clip)).mean() < 6


def test_frames_that_repeat_are_drawn_once(tmp_path, style, monkeypatch):
    rgb = list(motion(4))
    order = [0, 0, 0, 1, 2, 2, 3, 0]
    clip = Clip(
        pts=list(range(8)), codec="ffv1", format="bgr0", options={}, sound=None,
        frames=[av.VideoFrame.from_ndarray(rgb[i], "rgb24").reformat(format="bgr0") for i in order],
    ).make(tmp_path / "clip.mkv")  # fmt: skip
    loaded = load_style(style, threads=1)  # which no frames share
    drawn = []
    real = loaded.session.run
    monkeypatch.setattr(loaded.session, "run", lambda *a: drawn.append(1) or real(*a))
    seen = []

    def steady(photo, cartoon):
        seen.append(photo)
        return 255 - cartoon

    frames = list(video_frames(clip, style=loaded, stabilize=steady))
    assert len(drawn) == len(seen) == 5
    assert len(frames) == 8
    for frame, index in zip(frames, order, strict=True):
        np.testing.assert_array_equal(frame.photo, rgb[index])
        np.testing.assert_array_equal(frame.cartoon, 255 - loaded(rgb[index]))
    assert [frame.seconds for frame in frames] == [time for time, _ in times(clip)]


def test_cartoons_are_steadied_as_large_as_the_network_draws_them(tmp_path, style):
    clip = Clip(sound=None).make(tmp_path / "clip.mp4")
    loaded, seen = load_style(style), []

    def steady(photo, cartoon):
        seen.append((photo.shape, cartoon.shape))
        return np.zeros_like(cartoon)

    frames = list(video_frames(clip, style=loaded, resolution=24, strength=0.5, stabilize=steady))
    assert set(seen) == {((24, 32, 3), (24, 32, 3))}
    for frame in frames:
        assert frame.cartoon.shape == frame.photo.shape == (48, 64, 3)
        assert not np.array_equal(frame.cartoon, loaded(frame.photo, resolution=24, strength=0.5))
        assert np.abs(frame.cartoon - frame.photo / 2).mean() < 30


def test_frames_for_an_own_pipeline(tmp_path, style):
    clip = Clip().make(tmp_path / "clip.mp4")
    loaded = load_style(style)
    frames = list(video_frames(clip, style=loaded, start=0.5, max_height=24, strength=0.5))
    assert [frame.seconds for frame in frames] == [Fraction(n, 24) for n in range(12, 24)]
    for frame in frames:
        assert frame.photo.shape == (24, 32, 3)
        np.testing.assert_array_equal(frame.cartoon, loaded(frame.photo, strength=0.5))
    some = video_frames(clip, style=loaded)
    next(some)
    some.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("toonbox")]


def test_the_network_works_at_540_or_less(tiny_style, tmp_path):
    for name, own, wanted in (("small", 64, 64), ("large", 1080, 540)):
        loaded = load_style(tiny_style(name, working_resolution=own))
        assert video_style_options(loaded, StyleOptions()).resolution == wanted
        native = StyleOptions(resolution="native")
        assert video_style_options(loaded, native) == native


@pytest.mark.parametrize("compare", ["side", "split"])
def test_compared_with_the_video(tmp_path, style, compare):
    clip = Clip(pts=[0, 1, 2]).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style, crf=5)
    result = cartoonize_video(clip, tmp_path / "both.mp4", style=style, compare=compare, crf=5)
    film, toon, both = (
        pictures(tmp_path / f"{n}.mp4").astype(int) for n in ("clip", "toon", "both")
    )
    assert result.size == ((128, 48) if compare == "side" else (64, 48))
    width = 64 if compare == "side" else 29
    assert np.abs(both[:, :, :width] - film[:, :, :width]).mean() < 5
    assert np.abs(both[:, :, -width:] - toon[:, :, -width:]).mean() < 5
    if compare == "split":
        assert both[:, :, 31:33].mean() > 200


def test_memory_does_not_grow_with_the_video(tmp_path, style):
    """Only those frames are alive that are read ahead, drawn, waited for or finished."""
    clip = Clip(pts=list(range(60)), sound=None).make(tmp_path / "clip.mp4")
    alive, most = weakref.WeakSet(), 0

    class Counted(Frame):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            alive.add(self)

        __hash__ = object.__hash__

    frames = video_frames(clip, style=style, jobs=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toonbox.video.read.Frame", Counted)
        for _ in frames:
            most = max(most, len(alive))
            time.sleep(0.002)
    assert 0 < most <= 16


@pytest.mark.parametrize(
    "name",
    ["concat:a|b.mp4", "data:video,x.mp4", "subfile,,start,0,end,9,,:c.mp4", "-x.mp4", "%03d.mp4"],
)
def test_names_are_names(tmp_path, style, monkeypatch, name):
    """Not protocols, options or patterns."""
    monkeypatch.chdir(tmp_path)
    Clip(pts=[0, 1]).make(tmp_path / "clip.mp4").rename(name)
    cartoonize_video(name, f"{name}.mkv", style=style)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"{name}.mkv"])


def test_what_a_video_claims_in_its_header_is_not_believed(tmp_path, style):
    """60,000 x 60,000 pixels, of which no frame has more than 64 x 48."""
    clip = Clip(pts=[0, 1]).make(tmp_path / "clip.mp4")
    data = clip.read_bytes()
    claimed = data.index(b"avc1\0\0\0\0") + 28
    clip.write_bytes(data[:claimed] + (60_000).to_bytes(2) * 2 + data[claimed + 4 :])
    assert cartoonize_video(clip, tmp_path / "toon.mp4", style=style).size == (64, 48)
    with pytest.raises(VideoError, match=r"clip\.mp4: has frames of 64 x 48 larger than the limit"):
        cartoonize_video(clip, tmp_path / "a.mp4", style=style, max_pixels=3071)


@pytest.mark.parametrize("size", [(64, 30), (30, 64), (8, 8)])
def test_av1_of_less_than_its_encoder_can(size, tmp_path, style):
    clip = Clip(pts=[0, 1], size=size, sound=None).make(tmp_path / "clip.mkv")
    with pytest.raises(
        OutputError, match=r"toon\.mkv cannot be written: AV1 needs at least 32 pix"
    ):
        cartoonize_video(clip, tmp_path / "toon.mkv", style=style, codec="av1")
    assert list(tmp_path.iterdir()) == [clip]


def test_av1_of_the_least_size(tmp_path, style):
    clip = Clip(pts=[0, 1], size=(32, 32), sound=None).make(tmp_path / "clip.mkv")
    cartoonize_video(clip, tmp_path / "toon.mkv", style=style, codec="av1")
    assert len(times(tmp_path / "toon.mkv")) == 2


def test_names_of_attachments_lead_nowhere(tmp_path, style):
    """Whatever writes them out takes the name that the file gives."""
    clip = Clip(pts=[0, 1], sound=None, attachment=b"font").make(tmp_path / "clip.mkv")
    data = clip.read_bytes()
    assert data.count(b"font.ttf") == 1
    toon = tmp_path / "toon.mkv"
    for name, kept in ((b"../a.ttf", "a.ttf"), (b"/etc/a.b", "a.b"), (b"..\\\\a.tt", "a.tt"),
                       (b"aaaaaa..", "aaaaaa.."), (b"../../..", "attachment")):  # fmt: skip
        clip.write_bytes(data.replace(b"font.ttf", name))
        cartoonize_video(clip, toon, style=style, overwrite=True)
        with av.open(str(toon)) as container:
            (attachment,) = (one for one in container.streams if one.type == "attachment")
            assert attachment.metadata["filename"] == kept


def test_progress(tmp_path, style):
    clip = Clip().make(tmp_path / "clip.mp4")
    told = []
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style, progress=told.append, start=0.5)
    assert [step.frames for step in told] == [*range(1, 13), 12]
    assert [step.drawn for step in told] == [False] * 12 + [True]
    assert told[-2].seconds == pytest.approx(0.5)
    assert told[0].total == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("keep_partial", [False, True])
def test_stopped(tmp_path, style, keep_partial):
    clip = Clip().make(tmp_path / "clip.mp4")
    told = []
    result = cartoonize_video(
        clip, tmp_path / "toon.mp4", style=style, progress=told.append,
        stop=lambda: len(told) == 9, keep_partial=keep_partial,
    )  # fmt: skip
    assert not result.complete
    assert (result.written, result.frames) == (keep_partial, 9)
    if not keep_partial:
        assert list(tmp_path.iterdir()) == [clip]
        return
    assert times(tmp_path / "toon.mp4") == times(clip)[:9]
    sound = [packet for packet in packets(clip, "audio") if packet[0] < Fraction(9, 24)]
    assert packets(tmp_path / "toon.mp4", "audio") == sound


def test_resumed_is_the_same_to_the_bit(tmp_path, style, monkeypatch):
    monkeypatch.setattr("toonbox.video.pipeline.KEPT_LENGTH", 7)
    clip = replace(EVERYTHING, size=REPEATABLE).make(tmp_path / "clip.mkv")
    whole = tmp_path / "whole.mp4"
    cartoonize_video(clip, whole, style=style, resume=True)
    told = []
    parts = tmp_path / "parts.mp4"

    def reached(count):
        return len(told) >= count

    for stop_at in (9, 10, 17):  # within a segment, at once, within the next but one
        result = cartoonize_video(
            clip, parts, style=style, resume=True, keep_partial=True,
            progress=told.append, stop=partial(reached, stop_at),
        )  # fmt: skip
        assert not result.written
        assert not parts.exists()
    result = cartoonize_video(clip, parts, style=style, resume=True, progress=told.append)
    assert result.complete
    # None was drawn twice; the last one tells that all are.
    assert [step.frames for step in told] == [*range(1, 25), 24]
    shown = [[when for when, _ in times(path)] for path in (parts, whole, clip)]
    assert shown[0] == shown[1] == shown[2]
    np.testing.assert_array_equal(pictures(parts)[:7], pictures(whole)[:7])
    assert packets(parts, "audio") == packets(whole, "audio")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "clip.mkv", "parts.mp4", "whole.mp4"
    ]  # fmt: skip


def test_killed_within_a_segment(tmp_path, style, monkeypatch):
    monkeypatch.setattr("toonbox.video.pipeline.KEPT_LENGTH", 7)
    clip = Clip(size=REPEATABLE).make(tmp_path / "clip.mp4")
    whole, target = tmp_path / "whole.mp4", tmp_path / "toon.mp4"
    cartoonize_video(clip, whole, style=style, resume=True)

    def die(progress):
        if progress.frames == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cartoonize_video(clip, target, style=style, resume=True, progress=die)
    folder = tmp_path / ".toon.mp4.segments"
    assert sorted(path.name for path in folder.iterdir()) == [
        "000000.mp4",
        "000001.mp4",
        "job.json",
    ]
    (folder / "000001.mp4").write_bytes(b"damaged by the crash")
    told = []
    cartoonize_video(clip, target, style=style, resume=True, progress=told.append)
    assert [step.frames for step in told] == [*range(8, 25), 24]
    np.testing.assert_array_equal(pictures(target), pictures(whole))
    assert target.read_bytes() == whole.read_bytes()


def test_segments_go_when_the_video_is_finished_without_them(tmp_path, style):
    clip, target = Clip().make(tmp_path / "clip.mp4"), tmp_path / "toon.mp4"
    kept, told = tmp_path / ".toon.mp4.segments", []
    for options in ({"resume": True}, {"keep_partial": True}):
        told.clear()
        cartoonize_video(
            clip, target, style=style, progress=told.append, stop=lambda: len(told) == 3, **options
        )
        assert kept.exists()
    cartoonize_video(clip, target, style=style, overwrite=True)
    assert sorted(tmp_path.iterdir()) == [clip, target]


def test_segments_of_other_options_are_not_taken(tmp_path, style, caplog):
    clip = Clip().make(tmp_path / "clip.mp4")
    told = []
    for look in ({"strength": 0.5}, {"strength": 1.0}):
        told.clear()
        cartoonize_video(
            clip, tmp_path / "toon.mp4", style=style, resume=True, progress=told.append,
            stop=lambda: len(told) == 3, **look,
        )  # fmt: skip
    assert "has changed; starting over" in caplog.text
    result = cartoonize_video(clip, tmp_path / "toon.mp4", style=style, resume=True)
    assert result.frames == 24


def shades(path):
    """Count the values of brightness that a video's frames have, and name their format."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    deep = frames[0].reformat(format="gray16le").to_ndarray()  # what 8 bits cannot tell is equal
    return len(np.unique(deep)), frames[0].format.name


@pytest.fixture(scope="module")
def gradient(tmp_path_factory):
    """A video of 10 bits: all of their values from left to right."""
    row = np.linspace(64, 940, 1752).round().astype(np.uint16)
    planes = [np.tile(row, (64, 1)), *[np.full((32, 876), 512, np.uint16)] * 2]
    frame = av.VideoFrame(1752, 64, "yuv420p10le")
    for plane, values in zip(frame.planes, planes, strict=True):
        padded = np.zeros((values.shape[0], plane.line_size // 2), np.uint16)
        padded[:, : values.shape[1]] = values
        plane.update(padded.tobytes())
    path = tmp_path_factory.mktemp("gradient") / "clip.mkv"
    return Clip(size=(1752, 64), pts=[0], codec="ffv1", format="yuv420p10le", options={},
                sound=None, frames=[frame], rate=Fraction(24)).make(path)  # fmt: skip


@pytest.mark.parametrize(("codec", "strength"), [("hevc", 0), ("hevc", 1), ("av1", 0)])
def test_ten_bits(gradient, tmp_path, style, codec, strength):
    options = {"style": style, "codec": codec, "crf": 0, "strength": strength}
    assert shades(gradient) == (877, "yuv420p10le")
    cartoonize_video(gradient, tmp_path / "deep.mkv", bits=10, **options)
    count, format = shades(tmp_path / "deep.mkv")
    assert count > 600
    assert format == "yuv420p10le"
    cartoonize_video(gradient, tmp_path / "plain.mkv", **options)
    count, format = shades(tmp_path / "plain.mkv")
    assert count <= 256
    assert format == "yuv420p"


@pytest.mark.parametrize("compare", ["side", "split"])
def test_ten_bits_reduced_and_compared(tmp_path, style, compare):
    clip = Clip(pts=[0, 1]).make(tmp_path / "clip.mp4")
    for bits in (8, 10):
        cartoonize_video(clip, tmp_path / f"{bits}.mkv", style=style, codec="hevc", crf=1,
                         max_height=36, compare=compare, bits=bits)  # fmt: skip
    deep, plain = (pictures(tmp_path / f"{bits}.mkv").astype(int) for bits in (10, 8))
    assert np.abs(deep - plain).mean() < 2


def test_hdr_is_told(tmp_path, style, caplog):
    colours = {"color_trc": 16, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    # One frame: of two, each of two threads would take seconds to convert its own.
    clip = Clip(pts=[0], format="yuv420p10le", colours=colours).make(tmp_path / "clip.mp4")
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style)
    assert "is in HDR" in caplog.text
    with av.open(str(tmp_path / "toon.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.color_trc, frame.color_primaries, frame.colorspace) == (1, 1, 1)
    assert frame.format.name == "yuv420p"


@pytest.mark.parametrize(
    ("name", "codec", "format", "metadata", "count"),
    [
        ("clip.mov", "prores_ks", "yuva444p10le", {}, 1),
        ("clip.mkv", "ffv1", "bgra", {}, 1),
        ("clip.webm", "libvpx-vp9", "yuv420p", {"alpha_mode": "1"}, 1),
        ("clip.webm", "libvpx-vp9", "yuv420p", {}, 0),
    ],
)
def test_alpha_that_is_lost_is_told(tmp_path, style, caplog, name, codec, format, metadata, count):
    source, target = tmp_path / name, tmp_path / "toon.mkv"
    clip = Clip(pts=[0, 1], codec=codec, format=format, sound=None, of_pictures=metadata)
    replace(clip, options={}).make(source)
    cartoonize_video(source, target, style=style)
    assert caplog.text.count(f"{name}: its alpha channel is left out") == count
    with av.open(str(target)) as container:
        told = {key.lower() for key in container.streams.video[0].metadata}
    assert "alpha_mode" not in told


WRONG = [
    ({"start": -1.0}, "--start must be at least 0"),
    ({"start": 2.0, "end": 1.0}, "--end later than --start"),
    ({"crf": 52}, "crf must be from 0 to 51 for h264"),
    ({"encoder_preset": "5"}, "no preset 5 for h264; available: ultrafast"),
    ({"codec": "vp9", "encoder_preset": "fast"}, "no preset fast for vp9; available: 0, 1"),
    ({"codec": "mpeg4"}, "codec must be one of h264, hevc, vp9, av1, got 'mpeg4'"),
    ({"bits": 0}, "bits must be 8"),
    ({"bits": 10}, "10 for hevc and av1"),
    ({"bits": 12, "codec": "hevc"}, "bits must be 8"),
    ({"bits": 10, "codec": "vp9"}, "10 for hevc and av1"),
    ({"bits": 10, "codec": "hevc", "stabilize": "on"}, "10-bit cartoons cannot be stabilized"),
    ({"quality": 80}, "quality is for pictures"),
    ({"jobs": 0}, "jobs must be at least 1, got 0"),
    ({"end": math.inf}, "a time must be a number of seconds, got inf"),
    ({"start": math.nan}, "a time must be a number of seconds, got nan"),
    ({"hardware": "auto"}, "no option 'hardware'"),
    ({"max_height": 1}, "max_height must be at least 2"),
    ({"strength": 2.0}, "strength must be from 0 to 1"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options(tmp_path, style, options, message):
    clip = Clip(pts=[0]).make(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=message):
        cartoonize_video(clip, tmp_path / "toon.mp4", style=style, **options)
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("toon.webm", "h264", "cannot hold h264"),
        ("toon.mov", "vp9", "cannot hold vp9, only h264, hevc"),
        ("toon.avi", None, "cannot write a video as .avi"),
    ],
)
def test_containers_that_do_not_fit(tmp_path, style, name, codec, message):
    clip = Clip(pts=[0]).make(tmp_path / "clip.mp4")
    with pytest.raises(UsageError, match=message):
        cartoonize_video(clip, tmp_path / name, style=style, codec=codec)


def test_what_is_there_is_kept(tmp_path, style):
    clip = Clip(pts=[0]).make(tmp_path / "clip.mp4")
    (tmp_path / "toon.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        cartoonize_video(clip, tmp_path / "toon.mp4", style=style)
    assert (tmp_path / "toon.mp4").read_bytes() == b"mine"
    cartoonize_video(clip, tmp_path / "toon.mp4", style=style, overwrite=True)
    assert len(times(tmp_path / "toon.mp4")) == 1


def test_a_target_that_cannot_be_written(tmp_path, style):
    clip = Clip(pts=[0]).make(tmp_path / "clip.mp4")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        cartoonize_video(clip, tmp_path / "file" / "toon.mp4", style=style)


VIDEO_STAGES = (
    *("toonbox.video.read.to_rgb", "toonbox.engine.style.Style.sketch"),
    *("toonbox.video.write.from_rgb", "toonbox.video.pipeline.join"),
)


@pytest.mark.parametrize("stage", VIDEO_STAGES)
def test_whatever_is_raised_is_named_and_chained(stage, tmp_path, style, monkeypatch):
    def odd(*_, **__):
        raise OddError("odd")

    clip = Clip(pts=[0, 1]).make(tmp_path / "clip.mp4")
    monkeypatch.setattr(stage, odd)
    with pytest.raises(UnexpectedError, match=r"clip\.mp4: unexpected OddError: odd") as raised:
        cartoonize_video(clip, tmp_path / "toon.mp4", style=style)
    assert isinstance(raised.value.__cause__, OddError)
    assert list(tmp_path.iterdir()) == [clip]
    if "write" not in stage and "join" not in stage:
        with pytest.raises(UnexpectedError):
            next(video_frames(clip, style=style))


FULL = """
import resource, sys
from toonbox.errors import OutputError
from toonbox.video.pipeline import cartoonize_video
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
try:
    cartoonize_video(sys.argv[1], sys.argv[2], style=sys.argv[3], crf=0)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("limit", [5_000, 100_000])
def test_a_disk_that_is_full(tmp_path, style, limit):
    """A limit on the size of files stands for it: the same calls fail."""
    clip = Clip(pts=list(range(120))).make(tmp_path / "clip.mp4")
    done = subprocess.run(
        [sys.executable, "-c", FULL, clip, tmp_path / "toon.mp4", style, str(limit)],
        capture_output=True, text=True,
    )  # fmt: skip
    target = tmp_path / "toon.mp4"
    assert done.stdout == f"{target} cannot be written: File too large\n", done.stderr
    assert list(tmp_path.iterdir()) == [clip]
