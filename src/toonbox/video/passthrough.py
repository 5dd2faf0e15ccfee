"""Join the encoded pictures of a video with its sound, subtitles and chapters."""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from io import BytesIO
from itertools import pairwise
from math import ceil, floor, inf
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

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
from toonbox.video.write import Segment, kept_metadata, output, put

if TYPE_CHECKING:
    from av.container.core import Chapter

_logger = logging.getLogger(__name__)

# What a container gets that cannot hold a sound or a text as it is.
_SOUND = {"webm": ("libopus", 48_000)}
_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # of 1 to 8 channels
_TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}
# Languages that FFmpeg knows in QuickTime by their other code of ISO 639-2, or by its own.
_QUICKTIME_LANGUAGES = {
    "bod": "tib", "cym": "wel", "cze": "ces", "deu": "ger", "ell": "gre", "eus": "baq",
    "fas": "per", "fre": "fra", "hye": "arm", "isl": "ice", "kat": "geo", "msa": "may",
    "mya": "bur", "nld": "dut", "rum": "ron", "slo": "slk", "sqi": "alb", "swe": "sve",
    "zho": "chi",
}  # fmt: skip
_SENDERS_CLOCK = ("mpegts", "mpeg")  # of these, times begin with whatever a broadcast was at
_APPLES = "com.apple.quicktime."  # keys begin with it
_TEXT_CODECS = ("mov_text", "subrip", "srt", "webvtt", "ass", "ssa", "text")


# Takes a packet of the source, the empty one at its end too; gives those to write.
Convert = Callable[["Packet[Any]"], Iterable["Packet[Any]"]]


def _copied(target: Stream, packet: "Packet[Any]") -> Iterator["Packet[Any]"]:
    if packet.size:
        packet.stream = target
        yield packet


def _encoded_sound(
    decoder: AudioCodecContext,
    resampler: AudioResampler,
    target: AudioStream,
    packet: "Packet[Any]",
) -> Iterator["Packet[Any]"]:
    try:
        frames: list[Any] = decoder.decode(packet if packet.size else None)
    except av.FFmpegError:  # a gap, that later packets do not move into: they know their time
        return
    for frame in frames if packet.size else [*frames, None]:
        for part in resampler.resample(frame):
            yield from target.encode(part)
    if not packet.size:
        yield from target.encode(None)


def _encoded_text(
    decoder: SubtitleCodecContext, target: SubtitleStream, packet: "Packet[Any]"
) -> Iterator["Packet[Any]"]:
    text = decoder.decode2(packet) if packet.size else None
    if text is not None and len(text):
        encoded = target.codec_context.encode_subtitle(text)
        encoded.time_base = packet.time_base
        encoded.pts = encoded.dts = packet.pts
        encoded.duration = packet.duration
        encoded.stream = target
        yield encoded


def _add_side_streams(
    source: InputContainer, pictures: Stream, target: OutputContainer, path: Path, keep: str
) -> dict[int, Convert]:
    """Add all streams of a video but its pictures to its cartoon, or warn that they are lost.

    Return how the packets of each, by its index, are converted.
    """
    converts = {}
    for stream in source.streams:
        if stream.index == pictures.index:
            continue
        added = _added(stream, target, path)
        if added is None:
            if stream.type == "data" and (source.chapters() or "timecode" in stream.metadata):
                continue  # MP4 keeps these in such a stream too, and they are written anew
            name = f", {stream.codec_context.name}" if stream.codec_context is not None else ""
            what = f"stream {stream.index} ({stream.type}{name})"
            _logger.warning("%s: left out: %s", path, what)
            continue
        made, converts[stream.index] = added
        made.metadata.update(kept_metadata(stream.metadata, keep))
        if "filename" in made.metadata:  # players write attachments where it leads
            name = PureWindowsPath(made.metadata["filename"]).name  # of either kind of slashes
            made.metadata["filename"] = "attachment" if name in ("", "..") else name
        if target.format.name == "mov" and (language := stream.language):
            made.metadata["language"] = _QUICKTIME_LANGUAGES.get(language, language)
        made.disposition = stream.disposition
    return converts


def _added(stream: Stream, target: OutputContainer, path: Path) -> tuple[Stream, Convert] | None:
    """Add a stream like another, if the container can hold it, or hold what it becomes."""
    muxer, context = target.format.name, stream.codec_context
    if isinstance(stream, AudioStream) and isinstance(context, AudioCodecContext):
        return _sound_added(stream, context, target, path)
    if stream.type in ("audio", "subtitle") or (stream.type, muxer) == ("attachment", "matroska"):
        try:
            copied = target.add_stream_from_template(stream)
            return copied, partial(_copied, copied)
        except ValueError:  # the container cannot hold it
            pass
    if isinstance(stream, SubtitleStream) and (reader := stream.codec_context) is not None:
        if reader.name not in _TEXT_CODECS:
            return None
        text = target.add_stream(_TEXT[muxer])
        assert isinstance(text, SubtitleStream)
        reader.open(strict=False)
        writer = text.codec_context
        writer.subtitle_header = (reader.subtitle_header or b"") + b"\0"  # it is read to this end
        if stream.time_base:
            text.time_base = writer.time_base = stream.time_base
        writer.open(strict=False)
        return text, partial(_encoded_text, reader, text)
    return None


def _sound_added(
    stream: AudioStream, decoder: AudioCodecContext, target: OutputContainer, path: Path
) -> tuple[AudioStream, Convert] | None:
    """Add a sound like another; where the container cannot hold it, what it is encoded to."""
    muxer, layout = target.format.name, _layout(decoder)
    # The layout of these has to be told.
    samples = muxer == "mp4" and decoder.codec.canonical_name.startswith("pcm_")
    if not (samples and layout is None) and _can_copy(stream, muxer):
        copied = target.add_stream_from_template(stream)
        if samples and layout is not None:
            copied.codec_context.layout = layout
        return copied, partial(_copied, copied)
    if layout is None:
        return None
    encoded, rate = _SOUND.get(muxer, ("aac", decoder.sample_rate))
    rates = av.Codec(encoded, "w").audio_rates or [rate]
    sound = target.add_stream(encoded, min(rates, key=lambda known: abs(known - rate)))
    assert isinstance(sound, AudioStream)
    encoder = sound.codec_context
    channels = av.AudioLayout(layout).nb_channels
    if encoded == "libopus" or channels > len(_LAYOUTS):  # these take no others
        layout = _LAYOUTS[min(channels, len(_LAYOUTS)) - 1]
    encoder.layout = layout
    encoder.open()
    message = "%s: the sound becomes %s: %s cannot hold %s"
    _logger.warning(message, path, encoder.codec.canonical_name, muxer, decoder.name)
    resampler = AudioResampler(
        encoder.format, encoder.layout, encoder.sample_rate, encoder.frame_size
    )
    return sound, partial(_encoded_sound, decoder, resampler, sound)


def _can_copy(stream: AudioStream, muxer: str) -> bool:
    """Return whether a container can hold a stream; some refuse it only when they begin."""
    trial = av.open(BytesIO(), "w", format=muxer)
    try:
        trial.add_stream_from_template(stream)
        trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    finally:
        with suppress(av.FFmpegError):  # not all end without packets
            trial.close()
    return True


def _layout(decoder: AudioCodecContext) -> str | None:
    """Return the name of a sound's layout, or of the usual one of as many channels, if there is.

    PyAV frees the description of a layout without a name with the object that `layout` gives, and
    FFmpeg would free it again: it has to be replaced whenever it is read.
    """
    layout = decoder.layout
    if "channels" not in layout.name:
        return layout.name
    known = 0 < layout.nb_channels <= len(_LAYOUTS)
    decoder.layout = usual = _LAYOUTS[layout.nb_channels - 1] if known else "mono"
    return usual if known else None


@dataclass(frozen=True)
class Span:
    """The part of a video that is wanted, in seconds of its own time."""

    start: Fraction | float = -inf
    end: Fraction | float = inf  # what begins then or later is left out


def join(
    target: Path,
    container: Container,
    segments: Sequence[Segment],
    video: Video,
    span: Span,
    keep: str,
) -> None:
    """Write a video: its pictures from segments, everything else from its source.

    Raise OSError if the target cannot be written, VideoError if the source cannot be read.
    """
    with (
        opened(video.path, max_pixels=video.max_pixels) as source,
        av.open(f"file:{segments[0].path}") as first,
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
        converts = _add_side_streams(source, original, made, video.path, keep)
        made.metadata.update(kept_metadata(source.metadata, keep))
        offset = Fraction(0)  # in seconds, to be subtracted from all times
        if span.start != -inf:
            offset = Fraction(span.start)
            # It tells when the video began, not the part.
            pictures.metadata.pop("timecode", None)
            made.metadata.pop("timecode", None)
        elif source.format.name in _SENDERS_CLOCK:
            offset = Fraction(source.start_time or 0, av.time_base)
        made.set_chapters(_chapters(source.chapters(), span, offset))
        drawn = _pictures(segments, pictures)
        beside = _side_packets(source, video.path, converts, span)
        put(made, _moved(heapq.merge(drawn, beside, key=_time), offset))


def _options(container: Container, video: Video, source: InputContainer) -> dict[str, str]:
    """Return the muxer's options."""
    if not container.is_quicktime:
        return {}
    # Playing can begin before all is there; and a beginning other than 0 is told exactly.
    flags = "+faststart"
    if container.muxer == "mov" and any(key.startswith(_APPLES) for key in source.metadata):
        flags += "+use_metadata_tags"  # where telephones keep the place and the time with its zone
    return {"movflags": flags, "movie_timescale": str(video.time_base.denominator)}


def _pictures(segments: Sequence[Segment], target: Stream) -> Iterator["Packet[Any]"]:
    """Yield the packets of all segments, with decoding times as if they were one."""
    shown = [packet.pts or 0 for packet in _packets(segments)]
    decoded = iter(decoding_times(shown))
    ends = dict(pairwise(sorted(shown)))
    for packet in _packets(segments):
        at = packet.pts or 0
        packet.duration = ends.get(at, round(segments[-1].end / packet.time_base)) - at
        packet.dts = next(decoded)
        packet.stream = target
        yield packet


def _packets(segments: Sequence[Segment]) -> Iterator["Packet[Any]"]:
    packet: Packet[Any]
    for segment in segments:
        with av.open(f"file:{segment.path}") as container:
            for packet in container.demux(video=0):
                if packet.size:
                    yield packet


def decoding_times(shown: list[int]) -> list[int]:
    """Return decoding times for display times, all different, in the order of decoding.

    They are the sorted display times, moved back by as many as needed: none is after its display.
    """
    ordered = sorted(shown)
    rank = {time: place for place, time in enumerate(ordered)}
    delay = max((place - rank[time] for place, time in enumerate(shown)), default=0)
    step = ordered[1] - ordered[0] if len(ordered) > 1 else 1
    before = [ordered[0] - step * place for place in range(delay, 0, -1)]
    return (before + ordered)[: len(shown)]


def _side_packets(
    source: InputContainer, path: Path, converts: dict[int, Convert], span: Span
) -> Iterator["Packet[Any]"]:
    """Yield the packets of all other streams, as they are in the source or encoded anew."""
    # A clock may be set back, as where two videos are joined; some times repeat.
    last: dict[int, Fraction | float] = dict.fromkeys(converts, -inf)
    behind, skipped = dict.fromkeys(converts, False), 0
    for packet in _read(source, list(converts)):
        index = packet.stream.index
        if packet.size:
            now = _time(packet)
            behind[index] = now < last[index] or (behind[index] and now == last[index])
            last[index] = max(last[index], now)
            if behind[index]:
                skipped += 1
                continue
        if packet.stream.type == "subtitle":
            _cut(packet, span)
        wanted = packet.pts is not None and span.start <= _time(packet) < span.end
        if wanted or not packet.size:
            yield from converts[index](packet)
    if skipped:
        message = "%s: its clock jumps back: %d packets of sound and the like were skipped"
        _logger.warning(message, path, skipped)


def _read(source: InputContainer, indices: list[int]) -> Iterator["Packet[Any]"]:
    """Yield the packets of some streams, an empty one at the end of each."""
    packets = source.demux([source.streams[index] for index in indices]) if indices else iter(())
    # After an error the pictures end, too, and have told so.
    with suppress(av.FFmpegError):
        yield from packets


def _cut(packet: "Packet[Any]", span: Span) -> None:
    """Cut the time of a subtitle to the part of it that lies within the span, if any does."""
    if packet.pts is None or packet.duration is None:
        return
    first = ceil(max(packet.pts, span.start / packet.time_base))
    end = floor(min(packet.pts + packet.duration, span.end / packet.time_base))
    if first < end:
        packet.duration = end - first
        if packet.pts < first:
            packet.pts = packet.dts = first


def _time(packet: "Packet[Any]") -> Fraction:
    """Return when a packet is needed, in seconds."""
    ticks = packet.pts if packet.dts is None else packet.dts
    return (ticks or 0) * packet.time_base


def _moved(packets: Iterable["Packet[Any]"], offset: Fraction) -> Iterator["Packet[Any]"]:
    """Subtract an offset in seconds from all times."""
    for packet in packets:
        ticks = round(offset / packet.time_base)
        if packet.pts is not None:
            packet.pts -= ticks
        if packet.dts is not None:
            packet.dts -= ticks
        yield packet


def _chapters(chapters: "list[Chapter]", span: Span, offset: Fraction) -> "list[Chapter]":
    """Move chapters to where they are in the span; what lies outside is left out."""
    kept: list[Chapter] = []
    for chapter in chapters:
        unit = chapter["time_base"] or Fraction(1)
        start = max(chapter["start"] * unit, span.start)
        end = min(chapter["end"] * unit, span.end)
        if start < end:
            first, last = (round((time - offset) / unit) for time in (start, end))
            kept.append({**chapter, "start": first, "end": last})
    return kept
