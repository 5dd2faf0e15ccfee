"""Join the encoded pictures of a video with its sound, subtitles and chapters."""

import heapq
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from toonbox.images.formats import Container
from toonbox.video.read import Video, opened
from toonbox.video.write import kept_metadata, output, put, segment_times

if TYPE_CHECKING:
    from av.container.core import Chapter

_logger = logging.getLogger(__name__)

# What a container gets that cannot hold a sound or a text as it is.
_SOUND = {"webm": ("libopus", 48_000)}
_TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
# Languages that FFmpeg knows in QuickTime by their other code of ISO 639-2, or by its own.
_QUICKTIME_LANGUAGES = {
    "bod": "tib", "cym": "wel", "cze": "ces", "deu": "ger", "ell": "gre", "eus": "baq",
    "fas": "per", "fre": "fra", "hye": "arm", "isl": "ice", "kat": "geo", "msa": "may",
    "mya": "bur", "nld": "dut", "rum": "ron", "slo": "slk", "sqi": "alb", "swe": "sve",
    "zho": "chi",
}  # fmt: skip
_TEXT_CODECS = ("mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text")


class SideStream(Protocol):
    """Makes the packets of one stream of a video fit for its cartoon."""

    @property
    def source(self) -> Stream:
        """Of the video."""
        ...

    def packets(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        """Take a packet of the source, the empty one at its end too; give those to write."""
        ...


class _Copy:
    def __init__(self, source: Stream, target: Stream) -> None:
        self.source, self._target = source, target

    def packets(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        if packet.size:
            packet.stream = self._target
            yield packet


class _Sound:
    """Encodes sound anew."""

    def __init__(self, source: AudioStream, target: AudioStream) -> None:
        self.source, self._target = source, target
        encoder: AudioCodecContext = target.codec_context
        encoder.open()
        self._resampler = AudioResampler(
            encoder.format, encoder.layout, encoder.sample_rate, encoder.frame_size
        )

    def packets(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        try:
            decoded = self.source.codec_context.decode(packet if packet.size else None)
        except av.FFmpegError:  # a gap, that later packets do not move into: they know their time
            return
        for frame in [*decoded, *([None] if packet.size == 0 else [])]:
            for part in self._resampler.resample(frame):
                yield from self._target.encode(part)
        if packet.size == 0:
            yield from self._target.encode(None)


class _Text:
    """Encodes subtitles anew, from text to text."""

    def __init__(self, source: SubtitleStream, target: SubtitleStream) -> None:
        self.source, self._target = source, target
        self._decoder: SubtitleCodecContext = source.codec_context
        self._decoder.open(strict=False)
        header = self._decoder.subtitle_header or b""
        target.codec_context.subtitle_header = header + b"\0"  # it is read to this end
        if source.time_base:
            target.codec_context.time_base = source.time_base
        target.codec_context.open(strict=False)

    def packets(self, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
        text = self._decoder.decode2(packet) if packet.size else None
        if text is not None and len(text):
            encoded = self._target.codec_context.encode_subtitle(text)
            encoded.time_base = packet.time_base
            encoded.pts = encoded.dts = packet.pts
            encoded.duration = packet.duration
            encoded.stream = self._target
            yield encoded


def add_side_streams(
    source: InputContainer, pictures: Stream, target: OutputContainer, path: Path, keep: str
) -> list[SideStream]:
    """Add all streams of a video but its pictures to its cartoon; warn of what is lost.

    Args:
        source: the video.
        pictures: its stream of pictures.
        target: the cartoon.
        path: the video's, for messages.
        keep: "keep", "strip" or "no-gps": metadata.
    """
    streams = []
    for stream in source.streams:
        if stream.index == pictures.index:
            continue
        added = _added(stream, target, path)
        if added is None:
            if stream.type == "data" and (source.chapters() or "timecode" in stream.metadata):
                continue  # MP4 keeps these in such a stream too, and they are written anew
            _logger.warning("%s: left out: %s", path, _described(stream))
            continue
        side, made = added
        made.metadata.update(kept_metadata(stream.metadata, keep))
        if name := made.metadata.get("filename"):  # players write attachments where it leads
            made.metadata["filename"] = _last_component(name)
        if target.format.name == "mov" and (language := stream.language):
            made.metadata["language"] = _QUICKTIME_LANGUAGES.get(language, language)
        made.disposition = stream.disposition
        streams.append(side)
    return streams


def _added(stream: Stream, target: OutputContainer, path: Path) -> tuple[SideStream, Stream] | None:
    muxer = target.format.name
    holds_attachments = muxer == "matroska"
    if stream.type in ("audio", "subtitle") or (stream.type == "attachment" and holds_attachments):
        try:
            copied = target.add_stream_from_template(stream)
            return _Copy(stream, copied), copied
        except ValueError:  # the container cannot hold it
            pass
    if isinstance(stream, AudioStream) and stream.codec_context is not None:
        codec, rate = _SOUND.get(muxer, ("aac", stream.codec_context.sample_rate))
        sound = target.add_stream(codec, rate)
        assert isinstance(sound, AudioStream)
        sound.codec_context.layout = stream.codec_context.layout
        message = "%s: the sound becomes %s: %s cannot hold %s"
        name = sound.codec_context.codec.canonical_name
        _logger.warning(message, path, name, muxer, stream.codec_context.name)
        return _Sound(stream, sound), sound
    if (
        isinstance(stream, SubtitleStream)
        and stream.codec_context is not None
        and stream.codec_context.name in _TEXT_CODECS
        and muxer in _TEXT
    ):
        text = target.add_stream(_TEXT[muxer])
        assert isinstance(text, SubtitleStream)
        text.time_base = stream.time_base
        return _Text(stream, text), text
    return None


def _last_component(name: str) -> str:
    """Leave out the folders of a file's name, with either kind of slashes."""
    last = re.split(r"[/\\]", name)[-1]
    return "attachment" if last in ("", ".", "..") else last


def _described(stream: Stream) -> str:
    context = stream.codec_context
    name = f", {context.name}" if context is not None else ""
    return f"stream {stream.index} ({stream.type}{name})"


@dataclass(frozen=True)
class Span:
    """The part of a video that is wanted, in seconds of its own time.

    Attributes:
        start: becomes 0 in the cartoon; None for all from the beginning, at the times they have.
        end: what begins then or later is left out; None for the end.
    """

    start: Fraction | None = None
    end: Fraction | None = None

    def holds(self, seconds: Fraction) -> bool:
        """Return whether a time is in it."""
        return (self.start is None or seconds >= self.start) and (
            self.end is None or seconds < self.end
        )


def join(
    target: Path,
    container: Container,
    segments: Sequence[Path],
    video: Video,
    *,
    span: Span,
    keep: str = "keep",
) -> None:
    """Write a video: its pictures from segments, everything else from its source.

    Args:
        target: the file; what is there is overwritten.
        container: what it becomes.
        segments: files of `writing_segment`, in order.
        video: the source.
        span: the part of the source that the segments show.
        keep: "keep", "strip" or "no-gps": metadata.
    Raises:
        OSError: the file cannot be written.
        VideoError: the source cannot be read.
    """
    with (
        opened(video.path, max_pixels=video.max_pixels) as source,
        av.open(f"file:{segments[0]}") as first,
        output(target, container.muxer, _options(container, video, source)) as made,
    ):
        original: Stream = source.streams[video.index]
        pictures = made.add_stream_from_template(first.streams.video[0], opaque=True)
        pictures.codec_context.sample_aspect_ratio = video.aspect  # some codecs do not tell
        if rate := video.rate or first.streams.video[0].average_rate:
            pictures.codec_context.framerate = rate  # by which time codes count
        if container.is_quicktime and pictures.codec_context.name == "hevc":
            pictures.codec_context.codec_tag = "hvc1"  # Apple's players want it; not hev1
        pictures.metadata.update(kept_metadata(original.metadata, keep))
        pictures.disposition = original.disposition
        sides = add_side_streams(source, original, made, video.path, keep)
        made.metadata.update(kept_metadata(source.metadata, keep))
        if span.start is not None:  # it tells when the video began, not the part
            pictures.metadata.pop("timecode", None)
            made.metadata.pop("timecode", None)
        made.set_chapters(_chapters(source.chapters(), span))
        drawn = _pictures(segments, pictures, span.start or Fraction(0))
        beside = _side_packets(source, sides, span)
        put(made, heapq.merge(drawn, beside, key=_time))


def _options(container: Container, video: Video, source: InputContainer) -> dict[str, str]:
    """Return the muxer's options."""
    if not container.is_quicktime:
        return {}
    # Playing can begin before all is there; and a beginning other than 0 is told exactly.
    flags = "+faststart"
    if container.muxer == "mov" and any(map(_is_apples, source.metadata)):
        flags += "+use_metadata_tags"  # where telephones keep the place and the time with its zone
    return {"movflags": flags, "movie_timescale": str(video.time_base.denominator)}


def _is_apples(key: str) -> bool:
    return key.startswith("com.apple.quicktime.")


def _pictures(segments: Sequence[Path], target: Stream, start: Fraction) -> Iterator["Packet[Any]"]:
    """Yield the packets of all segments, with decoding times as if they were one."""
    shown = [packet.pts or 0 for packet in _packets(segments)]
    decoded = iter(decoding_times(shown))
    ordered, end = sorted(shown), segment_times(segments[-1]).end
    ends = dict(pairwise(ordered))
    for packet in _packets(segments):
        at = packet.pts or 0
        packet.duration = ends.get(at, round(end / packet.time_base)) - at
        packet.dts = next(decoded)
        _move(packet, start)
        packet.stream = target
        yield packet


def _packets(segments: Sequence[Path]) -> Iterator["Packet[Any]"]:
    packet: Packet[Any]
    for path in segments:
        with av.open(f"file:{path}") as segment:
            for packet in segment.demux(video=0):
                if packet.size:
                    yield packet


def decoding_times(shown: list[int]) -> list[int]:
    """Return decoding times: in order, never after the display time, in even steps.

    Args:
        shown: when each is shown, all different, in the order in which they are decoded.
    Returns:
        The times at which frames are shown, in order, moved back by as many as needed.
    """
    ordered = sorted(shown)
    rank = {time: place for place, time in enumerate(ordered)}
    delay = max((place - rank[time] for place, time in enumerate(shown)), default=0)
    step = ordered[1] - ordered[0] if len(ordered) > 1 else 1
    before = [ordered[0] - step * place for place in range(delay, 0, -1)]
    return (before + ordered)[: len(shown)]


def _side_packets(
    source: InputContainer, sides: Sequence[SideStream], span: Span
) -> Iterator["Packet[Any]"]:
    """Yield the packets of all other streams, as they are in the source or encoded anew."""
    by_index = {side.source.index: side for side in sides}
    if not by_index:
        return
    packets = source.demux([side.source for side in sides])
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:  # the pictures end here too, and have told so
            return
        if packet is None:
            return
        if packet.size and (packet.pts is None or not span.holds(_time(packet))):
            continue
        for made in by_index[packet.stream.index].packets(packet):
            _move(made, span.start or Fraction(0))
            yield made


def _time(packet: "Packet[Any]") -> Fraction:
    """Return when a packet is needed, in seconds."""
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base


def _move(packet: "Packet[Any]", start: Fraction) -> None:
    ticks = round(start / packet.time_base)
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks


def _chapters(chapters: "list[Chapter]", span: Span) -> "list[Chapter]":
    """Move chapters to where they are in the span; what lies outside is left out."""
    kept: list[Chapter] = []
    for chapter in chapters:
        unit = chapter["time_base"] or Fraction(1)
        start, end = chapter["start"] * unit, chapter["end"] * unit
        if span.start is not None:
            start, end = max(start, span.start), max(end, span.start)
        if span.end is not None:
            start, end = min(start, span.end), min(end, span.end)
        if start < end:
            moved = [round((time - (span.start or 0)) / unit) for time in (start, end)]
            kept.append({**chapter, "start": moved[0], "end": moved[1]})
    return kept
