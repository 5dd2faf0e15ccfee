/**
 * Convert a video in the browser: WebCodecs decode and encode, mediabunny reads and writes the
 * files. Timestamps of frames are preserved exactly, and sound is copied without encoding.
 */

import {
  ALL_FORMATS,
  BlobSource,
  BufferTarget,
  EncodedAudioPacketSource,
  EncodedPacketSink,
  Input,
  Mp4OutputFormat,
  Output,
  Quality,
  StreamTarget,
  VideoSample,
  VideoSampleSink,
  VideoSampleSource,
  getFirstEncodableVideoCodec,
} from "./vendor/mediabunny.min.mjs";

const RESOLUTION = 540; // working resolution, unless the style's is smaller
const CODECS = ["avc", "vp9", "av1", "vp8"]; // in order of preference
const FINEST = 1_000_000; // ticks per second at most: WebCodecs count microseconds
const SAMPLED = 100; // packets to estimate the frame rate from
const BITS = 0.15; // per pixel and frame
const FEWEST_BITS = 2_500_000; // per second

/** A video that this browser cannot convert; `code` is the suffix of the message key. */
export class VideoError extends Error {
  constructor(code, values = {}) {
    super(code);
    this.name = "VideoError";
    this.code = code;
    this.values = values;
  }
}

/** Return options with the working resolution for videos, if they have none. */
export function videoOptions(options) {
  const resolution = options.resolution ?? Math.min(RESOLUTION, options.style.resolution);
  return { ...options, resolution };
}

/**
 * An opened video.
 * @typedef {object} Video
 * @property {File} file
 * @property {import("mediabunny").Input} input
 * @property {import("mediabunny").InputVideoTrack} track
 * @property {number} width in square pixels, as shown
 * @property {number} height
 * @property {number} start timestamp of the first frame, in seconds
 * @property {number} seconds duration from the first frame to the end of the last
 * @property {boolean} hdr
 */

/**
 * Open a video.
 * @param {File} file
 * @returns {Promise<Video>}
 * @throws {VideoError} "unsupported" (no WebCodecs), "unreadable", "no-pictures" or "codec"
 */
export async function openVideo(file) {
  if (!("VideoDecoder" in window && "VideoEncoder" in window)) throw new VideoError("unsupported");
  const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
  try {
    if (!(await input.canRead())) throw new VideoError("unreadable");
    const track = await input.getPrimaryVideoTrack();
    if (!track) throw new VideoError("no-pictures");
    if (!(await track.canDecode())) {
      const codec = (await track.getCodec()) ?? (await track.getInternalCodecId());
      throw new VideoError("codec", { codec: String(codec).toUpperCase() });
    }
    const start = await track.getFirstTimestamp();
    return {
      file,
      input,
      track,
      width: await track.getDisplayWidth(),
      height: await track.getDisplayHeight(),
      start,
      seconds: (await track.computeDuration()) - start,
      hdr: await track.hasHighDynamicRange(),
    };
  } catch (error) {
    input.dispose();
    if (error instanceof VideoError) throw error;
    throw new VideoError("unreadable", { reason: error.message });
  }
}

/**
 * Decode one frame.
 * @param {Video} video
 * @param {number} time in seconds from the first frame
 * @returns {Promise<{photo: ImageData, begins: number}>} upright, in square pixels, and its time in
 *   seconds from the first frame
 */
export async function frameAt(video, time) {
  const sample = await new VideoSampleSink(video.track).getSample(video.start + time);
  if (!sample) throw new VideoError("unreadable", { reason: "" });
  const begins = sample.timestamp - video.start;
  return { photo: picture(video, sample), begins };
}

/** Draw a sample at its display size, and close it. */
function picture({ width, height }, sample) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  sample.draw(context, 0, 0, width, height);
  sample.close();
  return context.getImageData(0, 0, width, height);
}

/** Create a canvas of the video's size rounded up to even sides, which H.264 requires. */
function evenCanvas({ width, height }) {
  return new OffscreenCanvas(width + (width % 2), height + (height % 2));
}

/** Draw a cartoon on an even canvas, repeating the edge of an odd side. */
function paint(canvas, cartoon) {
  const context = canvas.getContext("2d");
  const [right, below] = [canvas.width - cartoon.width, canvas.height - cartoon.height];
  if (right || below) context.putImageData(cartoon, right, below);
  if (right && below) context.putImageData(cartoon, right, 0);
  if (right && below) context.putImageData(cartoon, 0, below);
  context.putImageData(cartoon, 0, 0);
}

/** A sound track whose packets are copied while the frames are drawn. */
class Sound {
  #source;
  #packets;
  #next = null; // result of #packets that is not due yet
  #done = false;

  /** Add a track to an output that has not started; `start` and `end` are timestamps. */
  static async add(output, track, { start, end, shift }) {
    const sound = new Sound();
    const codec = await track.getCodec();
    if (!output.format.getSupportedAudioCodecs().includes(codec)) return null;
    sound.#source = new EncodedAudioPacketSource(codec);
    output.addAudioTrack(sound.#source, {
      languageCode: await track.getLanguageCode(),
      name: (await track.getName()) ?? undefined,
    });
    sound.#packets = sound.#copies(track, { start, end, shift });
    return sound;
  }

  async *#copies(track, { start, end, shift }) {
    const sink = new EncodedPacketSink(track);
    const meta = { decoderConfig: (await track.getDecoderConfig()) ?? undefined };
    let first = await sink.getFirstPacket();
    if (start !== null) {
      const heard = await sink.getPacket(start);
      // A decoder also needs the packet before; times below 0 are not played.
      const step = 1 / (await track.getTimeResolution());
      first = (heard && (await sink.getPacket(heard.timestamp - step))) ?? heard ?? first;
    }
    if (!first) return;
    for await (const packet of sink.packets(first)) {
      if (packet.timestamp >= end) return;
      yield { packet: packet.clone({ timestamp: packet.timestamp - shift }), meta };
    }
  }

  /** Copy the packets before a timestamp of the output. */
  async copyUntil(time) {
    while (!this.#done) {
      this.#next ??= await this.#packets.next();
      if (this.#next.done) {
        this.#done = true;
        this.#source.close();
        return;
      }
      const { packet, meta } = this.#next.value;
      if (packet.timestamp >= time) return;
      await this.#source.add(packet, meta);
      this.#next = null;
    }
  }
}

/**
 * Convert a video.
 *
 * With `start`, the result begins at the first frame that is not earlier, at timestamp 0, as in
 * Python. Otherwise timestamps are preserved.
 * @param {Video} video
 * @param {import("./engine.js").Engine} engine
 * @param {object} options as in engine.js
 * @param {object} how
 * @param {number} [how.start] in seconds from the first frame
 * @param {number} [how.end] in seconds from the first frame, exclusive
 * @param {WritableStream} [how.writable] of a file; by default the result stays in memory
 * @param {AbortSignal} how.signal
 * @param {(done: {frames: number, share: number}) => void} [how.onProgress]
 * @returns {Promise<{blob: Blob|null, frames: number, codec: string, lost: number}>} `lost` counts
 *   the sound tracks that an MP4 cannot hold
 * @throws {VideoError} "no-encoder" or "no-frames"; or the signal's reason, after which no part
 *   of the result is kept
 */
export async function convert(video, engine, options, how) {
  const { writable, signal } = how;
  const canvas = evenCanvas(video);
  const codec = await getFirstEncodableVideoCodec(CODECS, {
    width: canvas.width,
    height: canvas.height,
  });
  if (!codec) throw new VideoError("no-encoder");
  const target = writable ? new StreamTarget(writable, { chunked: true }) : new BufferTarget();
  const format = new Mp4OutputFormat({ fastStart: writable ? false : "in-memory" });
  const output = new Output({ format, target });
  try {
    const done = await write(video, engine, options, { ...how, output, codec, canvas });
    const blob = writable ? null : new Blob([target.buffer], { type: "video/mp4" });
    return { ...done, blob, codec };
  } catch (error) {
    // Abort the stream first: if `cancel` closed it, a partial file would remain.
    await writable?.abort().catch(() => {});
    await output.cancel().catch(() => {});
    throw signal.aborted ? signal.reason : error;
  }
}

/** Write all frames; return their number and the number of lost sound tracks. */
async function write(video, engine, options, how) {
  const { output, codec, canvas, signal, onProgress = () => {} } = how;
  const start = video.start + (how.start ?? 0);
  const end = how.end === undefined ? Infinity : video.start + how.end;
  const total = Math.min(end, video.start + video.seconds) - start;
  const resolution = await video.track.getTimeResolution();
  const { averagePacketRate } = await video.track.computePacketStats(SAMPLED);
  const bits = Math.max(FEWEST_BITS, BITS * canvas.width * canvas.height * averagePacketRate);
  const pictures = new VideoSampleSource({
    codec,
    quality: new Quality({ bitrate: Math.round(bits) }),
    // The frame rate below sets the file's time base; the encoder needs the real rate.
    onEncoderConfig: (config) => (config.framerate = averagePacketRate),
  });
  // Timestamps are rounded to 1 / frameRate: exact with the source's resolution.
  output.addVideoTrack(pictures, { frameRate: Math.min(resolution, FINEST) });
  output.setMetadataTags(await video.input.getMetadataTags());

  const samples = new VideoSampleSink(video.track).samples(start, end);
  let sounds = null;
  let lost = 0;
  let shift = 0;
  let frames = 0;
  for await (const sample of samples) {
    const { timestamp, duration } = sample;
    if (timestamp < start - 0.5 / FINEST) {
      sample.close(); // starts before the part
      continue;
    }
    if (!sounds) {
      const cut = Boolean(how.start);
      shift = cut ? timestamp : 0;
      const part = { start: cut ? timestamp : null, end, shift };
      const tracks = await video.input.getAudioTracks();
      const added = [];
      for (const track of tracks) added.push(await Sound.add(output, track, part));
      sounds = added.filter(Boolean);
      lost = tracks.length - sounds.length;
      await output.start();
    }
    const cartoon = await engine.cartoonize(picture(video, sample), options, { signal });
    signal.throwIfAborted();
    paint(canvas, cartoon);
    const drawn = new VideoSample(canvas, { timestamp: timestamp - shift, duration });
    await pictures.add(drawn);
    drawn.close();
    frames += 1;
    for (const sound of sounds) await sound.copyUntil(timestamp - shift);
    onProgress({ frames, share: Math.min(1, (timestamp + duration - start) / total) });
  }
  if (!frames) throw new VideoError("no-frames");
  pictures.close();
  for (const sound of sounds) await sound.copyUntil(Infinity);
  await output.finalize();
  return { frames, lost };
}
