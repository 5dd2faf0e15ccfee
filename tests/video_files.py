"""Videos for the tests: real motion over a photograph, with sound and all that goes with it."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.subtitles.subtitle import SubtitleSet
from PIL import Image

# Texts are encoded from those of ASS, with the style that FFmpeg takes for plain ones.
ASS_HEADER = """[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
EXAMPLES = Path(__file__).parents[1] / "examples"
SIZE = (64, 48)
REPEATABLE = (128, 96)  # smaller ones x264 does not encode to the same bits each time

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="needs ffmpeg and ffprobe as an independent reader"
)


@cache
def example(name, size):
    """Read an example photo in a size, once."""
    with Image.open(EXAMPLES / name) as opened:
        return opened.convert("RGB").resize(size)


def motion(count, size=SIZE, noise=2, seed=0):
    """Make frames, (H, W, 3): a pan with a zoom over a photo, a moving cut-out, noise."""
    width, height = size
    random = np.random.default_rng(seed)
    photo = example("boats.jpg", (width * 2, height * 2))
    cut = example("tortilla.jpg", (width // 4, height // 4))
    for index in range(count):
        share = index / max(1, count)
        left, top = int(share * width * 0.6), int(share * height * 0.3)
        zoom = 1.3 - 0.3 * share
        box = (left, top, left + int(width * zoom), top + int(height * zoom))
        frame = photo.crop(box).resize(size)
        frame.paste(cut, (int(share * width * 0.7), height // 3))
        levels = np.asarray(frame) + random.normal(0, noise, (height, width, 3))
        yield np.clip(np.rint(levels), 0, 255).astype(np.uint8)


@dataclass
class Clip:
    """What to make; times are in `time_base`."""

    size: tuple[int, int] = SIZE
    pts: list[int] = field(default_factory=lambda: list(range(24)))
    last: int = 1
    time_base: Fraction = Fraction(1, 24)
    rate: Fraction = Fraction(24)
    codec: str = "libx264"
    format: str = "yuv420p"
    options: dict = field(default_factory=lambda: {"crf": "12", "preset": "ultrafast"})
    sound: str | None = "aac"
    sound_rate: int = 48_000
    layout: str = "mono"
    subtitles: str | None = None
    chapters: list = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    attachment: bytes | None = None
    turned: dict | None = None
    aspect: Fraction = Fraction(1)
    colours: dict = field(default_factory=dict)
    frames: list | None = None
    of_pictures: dict = field(default_factory=dict)  # metadata of their stream

    def make(self, path):
        """Write it; movie_timescale lets MP4 begin at any time exactly."""
        options = {"movie_timescale": "90000"} if path.suffix in (".mp4", ".mov") else {}
        with av.open(str(path), "w", container_options=options) as container:
            pictures = self._pictures(container)
            others = [self._sound(container), self._subtitles(container)]
            if self.attachment:
                container.add_attachment("font.ttf", "application/x-truetype-font", self.attachment)
            container.metadata.update(self.metadata)
            container.set_chapters(self.chapters)
            container.start_encoding()
            for packets in [self._encoded(pictures), *others]:
                for packet in packets:
                    container.mux(packet)
        return path

    def _pictures(self, container):
        stream = container.add_stream(self.codec, self.rate, options=self.options)
        context = stream.codec_context
        context.width, context.height = self.size
        context.pix_fmt, context.sample_aspect_ratio = self.format, self.aspect
        context.time_base = stream.time_base = self.time_base
        context.flags |= Flags.frame_duration
        stream.metadata.update(self.of_pictures)
        for name, value in self.colours.items():
            setattr(context, name, value)
        if self.turned:
            stream.set_display_rotation(**self.turned)
        return stream

    def _encoded(self, stream):
        frames = self.frames or motion(len(self.pts), self.size)
        ends = [*self.pts[1:], self.pts[-1] + self.last]
        for rgb, pts, end in zip(frames, self.pts, ends, strict=True):
            frame = rgb
            if not isinstance(rgb, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=self.format)
            frame.pts, frame.duration, frame.time_base = pts, end - pts, self.time_base
            yield from stream.encode(frame)
        yield from stream.encode()

    def _sound(self, container):
        if self.sound is None:
            return []
        rate = self.sound_rate
        stream = container.add_stream(self.sound, rate)
        stream.codec_context.layout = self.layout
        stream.codec_context.open()
        format = stream.codec_context.format.name
        seconds = float((self.pts[-1] + self.last - self.pts[0]) * self.time_base)
        start = round(self.pts[0] * self.time_base * rate)
        wave = np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate) * 0.3
        quiet = np.abs(np.arange(len(wave)) / len(wave) - 0.5) > 0.25  # a beep in the middle
        wave[quiet] = np.random.default_rng(0).normal(0, 1e-3, quiet.sum())
        step = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(format, self.layout, rate)

        def encoded():
            for first in range(0, len(wave), step):
                part = np.int16(wave[first : first + step] * 32767)[None]
                frame = av.AudioFrame.from_ndarray(part, "s16", "mono")
                frame.sample_rate, frame.pts = rate, start + first
                frame.time_base = Fraction(1, rate)
                for ready in resampler.resample(frame):
                    yield from stream.encode(ready)
            yield from stream.encode()

        return encoded()

    def _subtitles(self, container):
        if self.subtitles is None:
            return []
        stream = container.add_stream(self.subtitles)
        stream.metadata["language"] = "deu"
        stream.time_base = Fraction(1, 1000)
        context = stream.codec_context
        context.subtitle_header = ASS_HEADER.encode() + b"\0"
        context.time_base = Fraction(1, 1000)

        def encoded():
            for index, text in enumerate(("Guten Tag", "Auf Wiedersehen")):
                line = f"{index},0,Default,,0,0,0,,{text}".encode()
                packet = context.encode_subtitle(SubtitleSet.create(line, 0, 400))
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = 100 + 450 * index
                packet.duration = 400
                yield packet

        return encoded()


def times(path):
    """Give (when it is shown, how long) of each frame, in seconds."""
    with av.open(str(path)) as container:
        return [
            (frame.pts * frame.time_base, frame.duration * frame.time_base)
            for frame in container.decode(video=0)
        ]


def pictures(path):
    """Decode all frames: (N, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def packets(path, kind):
    """Give (when, how long, sha256) of each packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [
            (
                packet.pts * packet.time_base,
                (packet.duration or 0) * packet.time_base,
                hashlib.sha256(bytes(packet)).hexdigest(),
            )
            for packet in container.demux(stream)
            if packet.size
        ]


def probe(path, *what):
    """Ask ffprobe; what it prints, one value a line."""
    command = ["ffprobe", "-v", "error", "-of", "csv=p=0", *what, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


def ffmpeg_frames(path, size, *options):
    """Let ffmpeg decode all frames as players would show them: (N, H, W, 3)."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), *options, "-vsync", "0"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, size[1], size[0], 3)
