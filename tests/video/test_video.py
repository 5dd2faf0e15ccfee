"""Reading videos: what they say of themselves, and frames upright, in time and in their colours."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc
from PIL import Image

from toonbox.errors import VideoError
from toonbox.video import read
from toonbox.video.read import (
    read_frames,
    read_video,
    reduced_size,
)
from toonbox.video.stylizer import frame_at
from video_files import Clip, ffmpeg_frames, motion, needs_ffmpeg


def near(photos, others, most=2.0):
    """Same pictures but for rounding and compression."""
    assert np.shape(photos) == np.shape(others)
    return np.abs(np.asarray(photos, int) - np.asarray(others, int)).mean() <= most


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".mpg", ".webm"])
def test_containers(tmp_path, suffix):
    others = {".webm": ("libvpx-vp9", "libopus"), ".mpg": ("mpeg2video", "mp2")}
    codec, sound = others.get(suffix, ("libx264", "aac"))
    settings = {"options": {"preset": "medium", "crf": "12"} if codec == "libx264" else {}}
    path = Clip(codec=codec, sound=sound, **settings).make(tmp_path / f"clip{suffix}")
    video = read_video(path)
    assert video.size == (64, 48)
    frames = list(read_frames(video))
    assert len(frames) == 24
    seconds = [(frame.pts - video.start) * video.time_base for frame in frames]
    for index, time in enumerate(seconds):
        assert abs(time - Fraction(index, 24)) <= Fraction(1, 1000)
    if codec == "libx264":
        assert near([frame.photo for frame in frames], list(motion(24)), 4)


def test_what_it_says_of_itself(tmp_path):
    rate = Fraction(30000, 1001)
    pts = list(range(1001, 1001 * 11, 1001))
    path = Clip(
        pts=pts, last=1001, time_base=Fraction(1, 30000), rate=rate, aspect=Fraction(4, 3)
    ).make(tmp_path / "clip.mp4")
    video = read_video(path)
    assert (video.rate, video.start, video.frames) == (rate, 1001, 10)
    assert video.time_base == Fraction(1, 30000)
    assert video.aspect == Fraction(4, 3)
    assert video.seconds == pytest.approx(10 / rate)


def test_frames_of_uneven_length(tmp_path):
    pts = [0, 1, 2, 7, 8, 30, 31, 90]
    path = Clip(pts=pts, last=20, time_base=Fraction(1, 90)).make(tmp_path / "clip.mp4")
    video = read_video(path)
    frames = list(read_frames(video))
    assert [frame.pts * video.time_base for frame in frames] == [Fraction(p, 90) for p in pts]


@pytest.mark.parametrize("after", [0, 5, 11, 12, 22])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_reading_on_gives_the_very_same_frames(tmp_path, suffix, after):
    path = Clip(options={"g": "6", "preset": "medium"}).make(tmp_path / f"clip{suffix}")
    video = read_video(path)
    whole = list(read_frames(video))
    rest = list(read_frames(video, after=whole[after].pts))
    assert [frame.pts for frame in rest] == [frame.pts for frame in whole[after + 1 :]]
    for ours, theirs in zip(rest, whole[after + 1 :], strict=True):
        np.testing.assert_array_equal(ours.photo, theirs.photo)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_frames_that_last_long_are_found_at_any_time(tmp_path, suffix):
    """Slides of 5 seconds, then one of 95."""
    clip = Clip(pts=[0, 5, 10], last=95, time_base=Fraction(1), rate=Fraction(1), sound=None)
    path = replace(clip, options={"bf": "0"}).make(tmp_path / f"clip{suffix}")
    slides = [frame.photo for frame in read_frames(read_video(path))]
    for seconds, index in ((0, 0), (3, 0), (4.9, 0), (5, 1), (8, 1), (10, 2)):
        np.testing.assert_array_equal(frame_at(path, seconds)[0], slides[index])
    if suffix != ".avi":  # which does not tell how long the last frame lasts
        for seconds in (13, 100):
            np.testing.assert_array_equal(frame_at(path, seconds)[0], slides[2])
    with pytest.raises(VideoError, match="no frame at 106"):
        frame_at(path, 106)


TURNS = [
    {"degrees": degrees, "hflip": hflip} for degrees in (0, 90, 180, -90) for hflip in (False, True)
]


@needs_ffmpeg
@pytest.mark.parametrize("turned", TURNS, ids=str)
def test_turned_as_ffmpeg_turns_it(tmp_path, turned):
    path = Clip(pts=[0, 1], turned=turned, aspect=Fraction(2)).make(tmp_path / "clip.mp4")
    video = read_video(path)
    photos = [frame.photo for frame in read_frames(video)]
    assert near(photos, ffmpeg_frames(path, video.size), 5)  # it enlarges colours otherwise
    sideways = abs(turned["degrees"]) == 90
    assert video.size == ((48, 64) if sideways else (64, 48))
    assert video.aspect == (Fraction(1, 2) if sideways else Fraction(2))


def test_a_quarter_turn(tmp_path):
    path = Clip(pts=[0, 1], turned={"degrees": 90}).make(tmp_path / "clip.mp4")
    turned = [np.rot90(rgb) for rgb in motion(2)]
    assert near([frame.photo for frame in read_frames(read_video(path))], turned, 4)


def test_angles_between_are_left_alone(tmp_path):
    path = Clip(pts=[0], turned={"degrees": 30}).make(tmp_path / "clip.mp4")
    assert near([frame.photo for frame in read_frames(read_video(path))], list(motion(1)), 4)


def flat(level, format="yuv420p", chroma=128, size=(64, 48)):
    """Make a frame of one level of Y, U and V."""
    frame = av.VideoFrame(*size, format)
    for plane, value in zip(frame.planes, (level, chroma, chroma), strict=True):
        bits = np.uint16 if "10" in format else np.uint8
        plane.update(np.full(plane.buffer_size // bits().itemsize, value, bits).tobytes())
    return frame


LOSSLESS = {"qp": "0", "preset": "ultrafast"}


@pytest.mark.parametrize(
    ("range", "level", "expected"),
    [
        (ColorRange.MPEG, 16, 0),
        (ColorRange.MPEG, 235, 255),
        (ColorRange.UNSPECIFIED, 126, 128),
        (ColorRange.JPEG, 128, 128),
        (ColorRange.JPEG, 255, 255),
        (ColorRange.JPEG, 16, 16),
    ],
)
def test_range(tmp_path, range, level, expected):
    path = Clip(
        pts=[0], frames=[flat(level)], options=LOSSLESS, colours={"color_range": range.value}
    ).make(tmp_path / "clip.mp4")
    video = read_video(path)
    (frame,) = read_frames(video)
    assert np.abs(frame.photo.astype(int) - expected).max() <= 1
    assert video.colours.known_range == (range or ColorRange.MPEG)


@pytest.mark.parametrize(
    ("matrix", "size", "expected"),
    [  # Y 126, U 128, V 160 in limited range; R is 128 + what the matrix makes of V
        (1, (64, 48), (185, 111, 128)),
        (6, (64, 48), (179, 102, 128)),
        (2, (64, 48), (179, 102, 128)),
        (2, (1280, 16), (185, 111, 128)),
        (9, (64, 48), (182, 107, 128)),
    ],
)
def test_matrix(tmp_path, matrix, size, expected):
    frame = flat(126, size=size)
    frame.planes[2].update(bytes([160]) * frame.planes[2].buffer_size)
    path = Clip(
        size=size, pts=[0], frames=[frame], options=LOSSLESS, colours={"colorspace": matrix}
    ).make(tmp_path / "clip.mp4")
    (read,) = read_frames(read_video(path))
    assert np.abs(read.photo.astype(int) - expected).max() <= 2


def test_ten_bits(tmp_path):
    path = Clip(pts=[0], format="yuv420p10le", frames=[flat(502, "yuv420p10le", 512)]).make(
        tmp_path / "clip.mp4"
    )
    (frame,) = read_frames(read_video(path))
    assert np.abs(frame.photo.astype(int) - 127).max() <= 1


@pytest.mark.parametrize("transfer", [ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67])
def test_hdr_becomes_sdr(tmp_path, transfer):
    """A PQ signal of 0.508 is 100 candela; shown as it is, it would be a dull grey."""
    levels = [64, 300, 509, 940]
    colours = {"color_trc": transfer.value, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    bands = flat(0, "yuv420p10le", 512)  # of all levels in one frame: each takes seconds to convert
    luma = np.zeros((48, bands.planes[0].line_size // 2), np.uint16)
    luma[:, :64] = np.repeat(levels, 16)
    bands.planes[0].update(luma.tobytes())
    path = Clip(pts=[0], format="yuv420p10le", frames=[bands], colours=colours).make(
        tmp_path / "clip.mp4"
    )
    video = read_video(path)
    assert video.colours.hdr
    (frame,) = read_frames(video)
    shown = [frame.photo[:, left + 4 : left + 12].mean() for left in range(0, 64, 16)]
    assert shown == sorted(shown)
    assert shown[0] < 3
    assert shown[3] > 252
    assert shown[2] > (165 if transfer == ColorTrc.SMPTE2084 else 120)
    written = video.colours.written
    assert (written.transfer, written.primaries, written.matrix) == (1, ColorPrimaries.BT709, 1)


def test_hdr_of_a_size_is_converted_by_one_reformatter():
    """FFmpeg takes seconds to make the table for it; another thread must not share it."""
    first = read._of_thread.reformatter((64, 48))
    assert read._of_thread.reformatter((64, 48)) is first
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: read._of_thread.reformatter((64, 48))).result() is not first
    for side in range(2, 2 + 2 * read._SIZES):
        read._of_thread.reformatter((side, side))
    assert read._of_thread.reformatter.cache_info().currsize <= read._SIZES


@needs_ffmpeg
def test_interlaced_video_that_changes_its_size(tmp_path):
    parts = []
    for number, size in enumerate(("96x64", "160x128")):
        parts.append(tmp_path / f"{number}.ts")
        source = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.4", "-vf", "interlace"]
        encoder = ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-output_ts_offset", str(number)]
        subprocess.run(["ffmpeg", "-v", "error", *source, *encoder, parts[-1]], check=True)
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = list(read_frames(read_video(both)))
    assert len(frames) >= 8
    assert {frame.photo.shape for frame in frames} == {(64, 96, 3)}


def test_rgb_video(tmp_path):
    rgb = list(motion(3))
    path = Clip(
        pts=[0, 1, 2], codec="libx264rgb", format="rgb24", frames=[
            av.VideoFrame.from_ndarray(array, "rgb24") for array in rgb
        ], options=LOSSLESS,
    ).make(tmp_path / "clip.mkv")  # fmt: skip
    video = read_video(path)
    for frame, array in zip(read_frames(video), rgb, strict=True):
        np.testing.assert_array_equal(frame.photo, array)


@needs_ffmpeg
def test_interlaced_frames_are_made_whole(tmp_path):
    """A bar that moves far between two fields leaves a comb in woven frames."""
    fields = tmp_path / "fields.mkv"
    command = "ffmpeg -v error -f lavfi -i testsrc2=s=128x96:r=50:d=1 -vf interlace=scan=tff"
    command = f"{command}:lowpass=off -c:v mpeg2video -flags +ildct+ilme -q:v 1".split()
    subprocess.run([*command, str(fields)], check=True)
    video = read_video(fields)
    frames = list(read_frames(video))
    woven = ffmpeg_frames(fields, video.size)
    assert len(frames) == len(woven) == 25
    steps = {after.pts - before.pts for before, after in pairwise(frames)}
    assert steps == {40}  # milliseconds, as before

    def comb(photos):
        photos = np.asarray(photos, int)
        return np.abs(2 * photos[:, 1:-1] - photos[:, :-2] - photos[:, 2:]).mean()

    assert comb([frame.photo for frame in frames]) < 0.8 * comb(woven)
    later = list(read_frames(video, after=frames[9].pts))
    assert [frame.pts for frame in later] == [frame.pts for frame in frames[10:]]


def test_larger_ones_are_reduced(tmp_path):
    path = Clip(pts=[0, 1]).make(tmp_path / "clip.mp4")
    frames = list(read_frames(read_video(path), max_height=24))
    assert [frame.photo.shape for frame in frames] == [(24, 32, 3)] * 2
    assert reduced_size((1920, 1080), 540) == (960, 540)
    assert reduced_size((853, 480), 241) == (428, 240)
    assert reduced_size((853, 479), 480) == (853, 479)


def test_frames_at_another_size(tmp_path):
    path = Clip(pts=[0, 1], turned={"degrees": 90}).make(tmp_path / "clip.mp4")
    for frame in read_frames(read_video(path)):
        expected = Image.fromarray(frame.photo).resize((24, 32), Image.Resampling.BICUBIC)
        small = frame.resized((24, 32))
        assert small.shape == (32, 24, 3)
        assert np.abs(small - np.asarray(expected, int)).mean() < 4


def test_frames_that_repeat(tmp_path):
    video = read_video(Clip(pts=[0, 1, 2]).make(tmp_path / "clip.mp4"))
    first, second, _ = read_frames(video)
    assert first.repeats(first)
    assert not first.repeats(second)
    deep = replace(first, stored=first.stored.reformat(format="yuv420p10le"))
    assert deep.repeats(deep)
    assert not deep.repeats(second)


def test_sizes_that_change_on_the_way(tmp_path, caplog):
    parts = [tmp_path / "a.ts", tmp_path / "b.ts"]
    Clip(pts=[0, 1, 2], sound=None).make(parts[0])
    Clip(pts=[3, 4, 5], sound=None, size=(80, 60)).make(parts[1])
    both = tmp_path / "both.ts"
    both.write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    frames = list(read_frames(read_video(both)))
    assert {frame.photo.shape for frame in frames} == {(48, 64, 3)}
    assert len(frames) == 6
    assert "3 frames of another size were brought to 64x48" in caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_damage_in_the_middle(tmp_path, caplog, suffix):
    path = Clip(pts=list(range(48)), options={"g": "6"}).make(tmp_path / f"clip{suffix}")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    video = read_video(path)
    frames = list(read_frames(video))
    assert 24 <= len(frames) <= 48
    last = (frames[-1].pts - video.start) * video.time_base
    assert abs(last - Fraction(47, 24)) < Fraction(1, 500)  # the rest is where it was
    if suffix == ".mp4":  # the others lose frames without a trace
        assert "damaged" in caplog.text


def test_a_file_that_ends_early(tmp_path, caplog):
    path = Clip(sound=None).make(tmp_path / "clip.mp4")
    moved = tmp_path / "moved.mp4"
    with (
        av.open(str(path)) as source,
        av.open(str(moved), "w", container_options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    moved.write_bytes(moved.read_bytes()[:-4000])
    frames = list(read_frames(read_video(moved)))
    assert 0 < len(frames) < 24
    assert f"{24 - len(frames)} of its 24 frames could not be read" in caplog.text


@needs_ffmpeg
def test_frames_that_the_file_itself_cuts_away(tmp_path, caplog):
    path = Clip(options={"g": "12"}).make(tmp_path / "clip.mp4")
    cut = tmp_path / "cut.mp4"
    command = ["ffmpeg", "-v", "error", "-ss", "0.75", "-i", str(path), "-c", "copy", str(cut)]
    subprocess.run(command, check=True)
    video = read_video(cut)
    frames = list(read_frames(video))
    assert len(frames) == len(ffmpeg_frames(cut, video.size)) < video.frames
    assert caplog.text == ""


BROKEN = {
    "missing": (None, "no such file"),
    "empty": (b"", "is no video, or damaged"),
    "text": (b"Once upon a time\n" * 99, "is no video, or damaged"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "is no video, or damaged"),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_video(tmp_path, data, message):
    path = tmp_path / "clip.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(VideoError, match=message) as raised:
        read_video(path)
    assert str(path) in str(raised.value)


def test_a_folder(tmp_path):
    with pytest.raises(VideoError, match=r"is a folder|is no video"):
        read_video(tmp_path)


def test_cut_off_before_its_index(tmp_path):
    path = Clip().make(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(VideoError, match="ends before its index"):
        read_video(path)


def test_sound_only(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", 48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), "fltp", "stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="has no video, only audio"):
        read_video(path)


def test_no_frames(tmp_path):
    path = tmp_path / "clip.ts"
    Clip(pts=[0, 1], sound=None).make(path)
    data = bytearray(path.read_bytes())
    for start in range(0, len(data), 188):  # nothing but the tables of contents
        if int.from_bytes(data[start + 1 : start + 3], "big") & 0x1FFF == 256:
            data[start + 30 : start + 188] = bytes(158)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"has no frame that can be read|is no video"):
        read_video(path)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "mpeg4"])
def test_frames_that_are_too_large(tmp_path, codec):
    """At the beginning, or after smaller ones."""
    small, large = (
        Clip(pts=[0, 1, 2, 3], size=size, codec=codec, sound=None, options={}).make(
            tmp_path / f"{size[0]}.ts"
        )
        for size in ((64, 48), (640, 480))
    )
    with pytest.raises(VideoError, match=r"640\.ts: has frames .*larger than the limit of 10,000"):
        read_video(large, max_pixels=10_000)
    growing = tmp_path / "growing.ts"
    growing.write_bytes(small.read_bytes() + large.read_bytes())
    assert len(list(read_frames(read_video(growing)))) >= 4
    with pytest.raises(
        VideoError, match=r"growing\.ts: has frames .*larger than the limit of 10,0"
    ):
        list(read_frames(read_video(growing, max_pixels=10_000)))


def test_names_that_look_like_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Clip(pts=[0]).make(tmp_path / "clip.mp4").rename("http:clip.mp4")
    assert read_video(Path("http:clip.mp4")).size == (64, 48)


def test_a_decoder_that_hangs_is_given_up(tmp_path, monkeypatch):
    clip = Clip().make(tmp_path / "clip.mp4")

    def too_late(work, seconds):
        raise TimeoutError

    monkeypatch.setattr("toonbox.video.read.in_time", too_late)
    with pytest.raises(VideoError, match=r"clip\.mp4: its decoder has given nothing"):
        read_video(clip)
