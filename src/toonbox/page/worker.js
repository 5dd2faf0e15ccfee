// The worker that draws, so that the page stays responsive. It does one job at a time; engine.js
// keeps the queue and sends the messages.

import { blend, upsample } from "./guided.js";
import { loadPixels } from "./pixels.js";
import { HAMMING, LANCZOS, isDetailed, largestSize, resize, workingSize } from "./resize.js";
import { drawTile, tilesOf } from "./tiles.js";

/** @typedef {import("./resize.js").Pixels} Pixels */
/** @typedef {import("./engine.js").Style} Style */

const VENDOR = new URL("vendor/", import.meta.url).href;
const TILE = 768; // pixels without overlap; the network takes about 0.4 GB for one
const STRIP = 1 << 22; // pixels read from a canvas at once
const KEPT_PIXELS = 32e6; // of cached pictures
const KEPT_SESSIONS = 8; // all shipped styles, which are drawn on each photo
const MOST_THREADS = 8; // more take longer to start than they save
const TRIAL = { side: 192, runs: 2 };

let backend = "wasm";
let tileSide = TILE;
let threadCount = 1;
let aborted = 0; // id of the last aborted job

/** Handle a message: a job with an id, or a request to abort one. */
self.onmessage = async ({ data: { id, kind, ...job } }) => {
  if (kind === "abort") {
    aborted = id;
    return;
  }
  try {
    const { result, transfer } = await { start, load, draw }[kind](job, id);
    self.postMessage({ id, kind: "done", result }, transfer ?? []);
  } catch (error) {
    const message = String(error.message ?? error);
    self.postMessage({ id, kind: "failed", name: error.name, message });
  }
};

// ---- The engines

const engines = {}; // builds of ONNX Runtime by backend
/** @type {Map<string, Promise<Object>>} sessions by style and backend, most recently used last */
const sessions = new Map();

/**
 * Start the engine and choose a backend.
 * @param {{wanted: string?, threads: number?, tile: number?, trial: Style}} job
 */
async function start({ wanted, threads, tile, trial }) {
  tileSide = tile ?? TILE;
  const cores = Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS);
  threadCount = self.crossOriginIsolated ? threads ?? cores : 1;
  backend = wanted ?? "wasm";
  let times;
  if (!wanted && (await hasWebGpu())) {
    try {
      times = {
        wasm: await timed("wasm", trial),
        webgpu: await timed("webgpu", trial),
      };
      if (times.webgpu < times.wasm) backend = "webgpu";
    } catch {
      // Drivers fail in many ways; fall back to WASM.
    }
  }
  await Promise.all([engineFor(backend), loadPixels()]);
  return { result: { backend, threads: threadCount, times } };
}

/** Return whether there is a GPU that is not emulated in software. */
async function hasWebGpu() {
  if (!navigator.gpu || !("Suspending" in WebAssembly)) return false;
  try {
    const adapter = await navigator.gpu.requestAdapter();
    const { isFallbackAdapter, description } = adapter?.info ?? {};
    return Boolean(adapter) && !isFallbackAdapter && !/swiftshader|llvmpipe/i.test(description);
  } catch {
    return false;
  }
}

/** Import the build of ONNX Runtime for a backend. */
function engineFor(name) {
  engines[name] ??= (async () => {
    const file = name === "webgpu" ? "ort.jspi.min.mjs" : "ort.wasm.min.mjs";
    const ort = await import(`${VENDOR}${file}`);
    ort.env.wasm.wasmPaths = VENDOR;
    ort.env.wasm.numThreads = threadCount;
    ort.env.logLevel = "error";
    return ort;
  })();
  return engines[name];
}

/** Return the milliseconds that a small picture takes. */
async function timed(name, style) {
  const { network } = await sessionFor(style, name);
  const photo = new Float32Array(3 * TRIAL.side ** 2).fill(0.1);
  await network(photo, TRIAL.side, TRIAL.side); // compiles shaders and allocates memory
  const begun = performance.now();
  for (let run = 0; run < TRIAL.runs; run++) await network(photo, TRIAL.side, TRIAL.side);
  return (performance.now() - begun) / TRIAL.runs;
}

/** Load a style's network in advance. @param {{style: Style}} job */
async function load({ style }) {
  await sessionFor(style, backend);
  return { result: null };
}

/** @returns {Promise<{session: Object, network: Function}>} */
function sessionFor(style, name) {
  const key = `${name} ${style.model}`;
  const found = sessions.get(key) ?? openSession(style, name);
  sessions.delete(key);
  sessions.set(key, found);
  found.catch(() => sessions.delete(key));
  for (const [oldest, opened] of sessions) {
    if (sessions.size <= KEPT_SESSIONS) break;
    sessions.delete(oldest);
    opened.then(({ session }) => session.release());
  }
  return found;
}

/** Fetch a style's model. @returns {Promise<Uint8Array>} @throws {DOMException} NetworkError */
async function modelOf(style) {
  try {
    const answer = await fetch(new URL(style.model, import.meta.url));
    if (!answer.ok) throw new Error(`${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  } catch {
    throw new DOMException(`${style.name}: its model could not be loaded`, "NetworkError");
  }
}

async function openSession(style, name) {
  const ort = await engineFor(name);
  const model = await modelOf(style);
  let session;
  try {
    session = await ort.InferenceSession.create(model, {
      executionProviders: [name],
      // Memory patterns double the memory and are no faster.
      enableMemPattern: false,
      // Spinning threads would slow down everything else.
      extra: { session: { intra_op: { allow_spinning: "0" } } },
    });
  } catch (error) {
    throw new Error(`${style.name}: not a network for a style`, { cause: error });
  }
  const network = async (photo, width, height, knobs) => {
    const feeds = { photo: new ort.Tensor("float32", photo, [1, 3, height, width]) };
    if (style.knobs.length) {
      const values = Float32Array.from(style.knobs, (knob) => knobs?.[knob] ?? 1);
      feeds.knobs = new ort.Tensor("float32", values, [1, values.length]);
    }
    const { cartoon } = await session.run(feeds);
    const values = cartoon.data;
    cartoon.dispose();
    return values;
  };
  return { session, network };
}

// ---- Drawing

/**
 * Cached pictures, most recently used last. After a change of a knob the picture need not be read
 * and reduced again; after a change of strength the network need not run again.
 * @type {Map<number, {pixels: Pixels, small?: {key: string, seen: Pixels},
 *   drawn?: {key: string, cartoon: Pixels}}>}
 */
const kept = new Map();

/**
 * Draw a cartoon.
 * @param {{picture: any, key: number?, options: Object}} job `key` identifies an immutable picture
 *   that may be cached; without `picture`, the result is {missing: true} if it is not
 * @param {number} id
 */
async function draw({ picture, key, options }, id) {
  if (!picture && !kept.has(key)) return { result: { missing: true } };
  const { style, strength, resolution, ...knobs } = options;
  const begun = performance.now();
  const times = {};
  const mark = (name) => (times[name] = performance.now() - begun);

  const source = await sourceOf(picture, key);
  const photo = source.pixels;
  const own = !kept.has(key); // not cached, so it can be overwritten
  mark("read");
  await breathe(id);
  if (strength === 0) return finished(own ? photo : copyOf(photo), times);

  const small = seenOf(source, style, resolution);
  const reduced = small.width < photo.width || small.height < photo.height;
  mark("reduce");
  await breathe(id, 0.05);

  let cartoon = await drawSmall(source, small, style, knobs, id, (share) =>
    breathe(id, 0.05 + (reduced ? 0.65 : 0.9) * share));
  mark("network");

  let out = own ? photo : blank(photo);
  if (reduced) {
    for (const rows of upsample(photo, small, cartoon, strength, out)) {
      await breathe(id, 0.7 + (0.3 * rows) / photo.height);
    }
  } else {
    cartoon = resizedTo(cartoon, [photo.width, photo.height], LANCZOS);
    if (own) out = cartoon;
    blend(photo, cartoon, strength, out);
  }
  mark("finish");
  return finished(out, times);
}

/** Return a photo at the size at which the network works: itself, or resized, perhaps cached. */
function seenOf(source, style, resolution) {
  const { width, height } = source.pixels;
  const size = workingSize(width, height, resolution ?? style.resolution);
  const largest = resolution === null ? largestSize(width, height, style) : size;
  const key = String([size, largest]);
  if (source.small?.key !== key) source.small = { key, seen: chosen(source.pixels, size, largest) };
  return source.small.seen;
}

function chosen(photo, size, largest) {
  if (String(size) === String(largest)) return resizedTo(photo, size);
  const reduced = largest[0] < photo.width;
  const lookedAt = reduced ? resizedTo(photo, size) : photo;
  if (!isDetailed(lookedAt)) return resizedTo(lookedAt, size);
  return resizedTo(photo, largest, reduced ? HAMMING : LANCZOS);
}

function resizedTo(picture, [width, height], filter) {
  const same = width === picture.width && height === picture.height;
  return same ? picture : resize(picture, width, height, filter);
}

/** Run the network on a photo or a resized one, or return its cached output. */
async function drawSmall(source, small, style, knobs, id, onShare) {
  const key = JSON.stringify([style.model, knobs, small.width, small.height]);
  if (source.drawn?.key === key) return source.drawn.cartoon;
  let cartoon;
  try {
    cartoon = await drawTiles(small, style, knobs, onShare);
  } catch (error) {
    if (backend === "wasm" || error.name === "AbortError") throw error;
    backend = "wasm"; // the GPU was lost or is out of memory
    cartoon = await drawTiles(small, style, knobs, onShare);
  }
  source.drawn = { key, cartoon };
  return cartoon;
}

async function drawTiles(small, style, knobs, onShare) {
  const { network } = await sessionFor(style, backend);
  const cartoon = blank(small);
  const tiles = tilesOf(small, style, tileSide);
  for (const [index, tile] of tiles.entries()) {
    const withKnobs = (photo, width, height) => network(photo, width, height, knobs);
    await drawTile(small, tile, style, withKnobs, cartoon);
    await onShare((index + 1) / tiles.length);
  }
  return cartoon;
}

function finished({ data, width, height }, times) {
  return { result: { data, width, height, times, backend }, transfer: [data.buffer] };
}

async function sourceOf(picture, key) {
  const source = kept.get(key) ?? { pixels: await pixelsOf(picture) };
  if (key == null) return source;
  kept.delete(key);
  const size = ({ width, height }) => width * height;
  let total = size(source.pixels);
  if (total > KEPT_PIXELS) return source;
  for (const other of kept.values()) total += size(other.pixels);
  for (const [oldest, other] of kept) {
    if (total <= KEPT_PIXELS) break;
    kept.delete(oldest);
    total -= size(other.pixels);
  }
  kept.set(key, source);
  return source;
}

/**
 * Read a picture's pixels, 8-bit sRGB.
 * @param {ImageData|ImageBitmap|VideoFrame} picture
 * @returns {Promise<Pixels>}
 */
async function pixelsOf(picture) {
  if (picture instanceof ImageData) return picture;
  const width = picture.displayWidth ?? picture.width;
  const height = picture.displayHeight ?? picture.height;
  const data = new Uint8ClampedArray(4 * width * height);
  try {
    // `copyTo` premultiplies alpha, and does not convert the colours of videos, so that only opaque
    // RGB is copied; all else goes through a canvas.
    const plain = /^(RGB|BGR)X$/.test(picture.format ?? "") && (await copiesFrames());
    if (plain) await picture.copyTo(data, { format: "RGBA" });
    else readByCanvas(picture, data, width, height);
  } finally {
    picture.close();
  }
  return { data, width, height };
}

function readByCanvas(picture, data, width, height) {
  const rows = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
  const canvas = new OffscreenCanvas(width, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.globalCompositeOperation = "copy";
  for (let top = 0; top < height; top += rows) {
    context.drawImage(picture, 0, -top, width, height);
    const count = Math.min(rows, height - top);
    data.set(context.getImageData(0, 0, width, count).data, 4 * width * top);
  }
}

let copying;

/** Return whether copying from a frame, which is fast, gives the same values as a canvas. */
function copiesFrames() {
  copying ??= (async () => {
    const canvas = new OffscreenCanvas(1, 1);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "rgb(10 120 240)";
    context.fillRect(0, 0, 1, 1);
    const bitmap = await createImageBitmap(canvas);
    const frame = new VideoFrame(bitmap, { timestamp: 0, alpha: "discard" });
    const copied = new Uint8Array(4);
    await frame.copyTo(copied, { format: "RGBA" });
    frame.close();
    return String(copied) === "10,120,240,255";
  })().catch(() => false);
  return copying;
}

const copyOf = ({ data, width, height }) => ({ data: data.slice(), width, height });
const blank = ({ data, width, height }) => ({
  data: new Uint8ClampedArray(data.length), width, height,
});

const { port1: breath, port2: answer } = new MessageChannel();

/** Report progress and process pending messages; throw an AbortError if the job was aborted. */
async function breathe(id, share) {
  if (share !== undefined) self.postMessage({ id, kind: "progress", share });
  await new Promise((resolve) => {
    answer.onmessage = resolve;
    breath.postMessage(null);
  });
  if (aborted === id) throw new DOMException("cancelled", "AbortError");
}
