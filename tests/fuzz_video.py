"""Damage small videos at random, and see that turning them into cartoons ends well.

Run `python tests/fuzz_video.py --count 300 --seed 1`. See tests/fuzz_decode.py, which does the same
to pictures and says what ends well.
"""

import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import av

import fuzz_decode
from toonbox.engine.style import Style, load_style
from toonbox.errors import ToonboxError
from toonbox.video.pipeline import cartoonize_video
from video_files import REPEATABLE, Clip

SECONDS = 120  # without a sign of life is a hang; machines are busy at times
FRAMES = 12  # of each video


@cache
def corpus() -> list[bytes]:
    """Make small videos of every container, with sound, texts, chapters and attachments."""
    chapter = {
        "id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000),
        "metadata": {"title": "one"},
    }  # fmt: skip
    h264 = {"crf": "24", "preset": "veryfast", "threads": "1"}
    plain = {"threads": "1", "b": "100k"}
    films = {
        "a.mp4": Clip(options=h264, chapters=[chapter], subtitles="mov_text"),
        "b.mp4": Clip(options=h264, metadata={"title": "boats"}),
        "c.mkv": Clip(
            options=h264, chapters=[chapter], subtitles="ass", attachment=b"font" * 30, sound="flac"
        ),
        "d.webm": Clip(codec="libvpx-vp9", options={**plain, "cpu-used": "8"}, sound="libopus"),
        "e.avi": Clip(codec="mpeg4", options=plain, sound="libmp3lame"),
        "f.ts": Clip(codec="mpeg2video", options=plain, sound="mp2"),
        "g.ts": Clip(options=h264),
    }
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for name, clip in films.items():
            clip.size, clip.pts = REPEATABLE, list(range(FRAMES))
            files.append(_anew(clip.make(Path(folder) / name)).read_bytes())
    return files


def _anew(path: Path) -> Path:
    """Write a video without random numbers; an MP4 "b" with its index where more is damaged."""
    target = path.with_stem(f"{path.stem}-anew")
    options = {"fflags": "+bitexact"}
    if path.name == "b.mp4":
        options["movflags"] = "+faststart"
    with (
        av.open(str(path)) as source,
        av.open(str(target), "w", container_options=options) as made,
    ):
        copied = [stream for stream in source.streams if stream.type != "data"]  # chapters, in MP4
        streams = {one.index: made.add_stream_from_template(one) for one in copied}
        made.set_chapters(source.chapters())
        for packet in source.demux([one for one in copied if one.type != "attachment"]):
            if packet.size:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    return target


def damaged(seed: int, number: int) -> bytes:
    """Make one damaged video."""
    return fuzz_decode.mutated(corpus(), seed, number)


@cache
def style() -> Style:
    return load_style("comic", engine="onnxruntime", threads=1)


def drawn(data: bytes) -> str:
    """Do what is done with every video; tell how it ended."""
    suffix = (".mp4", ".mkv", ".webm")[len(data) % 3]
    with tempfile.TemporaryDirectory() as folder:
        path, target = Path(folder, "film.mp4"), Path(folder, f"toon{suffix}")
        path.write_bytes(data)
        try:
            cartoonize_video(path, target, style=style(), jobs=1, resolution=64)
        except ToonboxError:
            assert [*Path(folder).iterdir()] == [path]
            return "refused"
        assert sorted(Path(folder).iterdir()) == [path, target]
    return "read"


if __name__ == "__main__":
    kind = fuzz_decode.Kind(damaged, drawn, SECONDS)
    fuzz_decode.main(kind, "Damage videos at random and turn them into cartoons.", 300)
