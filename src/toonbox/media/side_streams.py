"""What a film has beside its pictures: sound, subtitles, attachments; copied packet by packet.

Only what a container cannot hold is encoded anew, or left out with a message.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from toonbox.media.video_metadata import kept_metadata

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
    """Makes the packets of one stream of a film fit for its cartoon."""

    @property
    def source(self) -> Stream:
        """Of the film."""
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
    """Give a cartoon all streams of its film but the pictures; say what is lost.

    Args:
        source: the film.
        pictures: its stream of pictures.
        target: the cartoon.
        path: the film's, for messages.
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
