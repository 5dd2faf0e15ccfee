// The interface to worker.js, which draws cartoons.

import { recall, remember } from "./dom.js";

/**
 * A style in models/styles.json. Lengths are in pixels; see `Card` in toonbox/engine/style.py.
 * @typedef {{name: string, description: string, knobs: string[], resolution: number, detail: number,
 *   multiple: number, reach: number, beyond: number, model: string, preview: string,
 *   bytes: number}} Style
 */
/**
 * @typedef {{style: Style, strength?: number, resolution?: number|"native"|null,
 *   surface?: number, structure?: number, texture?: number}} Options
 *   strength: from 0, the photo, to 1, the cartoon; resolution: short side at which the network
 *   works; knobs: 0 to 2
 */

const CHOICE = "toonbox.backend"; // localStorage key of the faster backend

/** Fetch the list of styles, the default first. @returns {Promise<Style[]>} */
export async function listStyles() {
  const answer = await fetch(new URL("models/styles.json", import.meta.url));
  if (!answer.ok) throw new Error("the list of styles could not be loaded");
  return answer.json();
}

/** Draws cartoons in a worker. */
export class Engine {
  /** "wasm" or "webgpu" */
  backend = "wasm";
  threads = 1;
  /** Milliseconds from the start of the last cartoon to the end of each of its stages. */
  times = {};
  #worker;
  #waiting = [];
  #running = null;
  #ended = null; // error that ended the worker
  #next = 1;
  #keys = new WeakMap(); // of pictures that the worker may have kept
  #nextKey = 1;

  /**
   * Start the worker. If there is a GPU, the first visit times it against WASM and remembers the
   * faster backend.
   * @param {{backend?: "wasm"|"webgpu", threads?: number, tile?: number}} [forced] for tests and
   *   benchmarks
   * @returns {Promise<Engine>}
   */
  static async start({ backend, threads, tile } = {}) {
    const engine = new Engine();
    engine.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    engine.#worker.onmessage = ({ data }) => engine.#heard(data);
    engine.#worker.onerror = ({ message }) =>
      engine.#end(new Error(message || "the part of the page that draws could not be loaded"));
    const mayTry = !backend && "gpu" in navigator;
    const wanted = backend ?? (mayTry ? remembered() : "wasm");
    const trial = mayTry && !wanted ? (await listStyles())[0] : null;
    const start = (wanted) => engine.#send({ kind: "start", wanted, threads, tile, trial });
    let found;
    try {
      found = await start(wanted);
    } catch (error) {
      if (backend) throw error;
      found = await start("wasm");
    }
    engine.backend = found.backend;
    engine.threads = found.threads;
    if (mayTry) remember(CHOICE, choice(found.backend));
    return engine;
  }

  /** Load a style's model in advance. @param {Style} style */
  async load(style) {
    await this.#send({ kind: "load", style });
  }

  /**
   * Draw a cartoon of a picture at its size.
   * @param {ImageData|ImageBitmap|VideoFrame|HTMLCanvasElement} picture an ImageBitmap is read only
   *   once, even if it is drawn repeatedly
   * @param {Options} options
   * @param {{signal?: AbortSignal, onProgress?: (share: number) => void, lane?: string}} [how]
   *   a call replaces a waiting one in the same lane, which rejects with an AbortError
   * @returns {Promise<ImageData>}
   */
  async cartoonize(picture, options, how = {}) {
    const { style, strength = 1, resolution = null } = options;
    const knobs = Object.fromEntries(style.knobs.map((knob) => [knob, options[knob] ?? 1]));
    const job = { kind: "draw", options: { style, strength, resolution, ...knobs } };
    let drawn = await this.#send({ ...job, key: this.#keys.get(picture) }, picture, how);
    if (drawn.missing) {
      this.#keys.delete(picture);
      drawn = await this.#send(job, picture, how);
    }
    this.backend = drawn.backend;
    this.times = drawn.times;
    return new ImageData(drawn.data, drawn.width, drawn.height);
  }

  /** Terminate the worker; pending calls reject. */
  close() {
    this.#worker.terminate();
    this.#end(cancelled());
  }

  #send(message, picture = null, { signal, onProgress, lane } = {}) {
    if (this.#ended) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(cancelled());
    return new Promise((resolve, reject) => {
      const job = { id: this.#next++, message, picture, lane, onProgress };
      const abort = () => this.#abort(job);
      const settle = (how) => (value) => {
        signal?.removeEventListener("abort", abort);
        if (isFrame(job.picture)) job.picture.close();
        how(value);
      };
      job.resolve = settle(resolve);
      job.reject = settle(reject);
      if (isFrame(picture)) job.picture = picture.clone(); // the caller may close the original
      if (lane !== undefined) {
        const replaced = this.#waiting.findIndex((other) => other.lane === lane);
        if (replaced >= 0) this.#waiting.splice(replaced, 1)[0].reject(cancelled());
      }
      signal?.addEventListener("abort", abort);
      this.#waiting.push(job);
      this.#go();
    });
  }

  #abort(job) {
    const place = this.#waiting.indexOf(job);
    if (place >= 0) this.#waiting.splice(place, 1);
    else if (this.#running === job) this.#worker.postMessage({ id: job.id, kind: "abort" });
    else return;
    job.reject(cancelled());
  }

  async #go() {
    if (this.#running || !this.#waiting.length) return;
    const job = (this.#running = this.#waiting.shift());
    try {
      const { picture } = job;
      let sent = picture;
      if (picture instanceof ImageBitmap) {
        const known = job.message.key !== undefined;
        if (!known) this.#keys.set(picture, (job.message.key = this.#nextKey++));
        sent = known ? null : frameOf(picture);
      } else if (picture instanceof HTMLCanvasElement) {
        sent = await createImageBitmap(picture);
      } else if (isFrame(picture)) {
        job.picture = null; // the worker closes it
      }
      // Frames and bitmaps created here are transferred; the caller's are copied.
      const ours = sent && (isFrame(sent) || sent !== picture);
      this.#worker.postMessage({ ...job.message, id: job.id, picture: sent }, ours ? [sent] : []);
    } catch (error) {
      job.reject(error);
      this.#running = null;
      this.#go();
    }
  }

  #heard({ id, kind, result, share, name, message }) {
    const job = this.#running;
    if (job?.id !== id) return;
    if (kind === "progress") {
      job.onProgress?.(share);
      return;
    }
    this.#running = null;
    if (kind === "done") job.resolve(result);
    else if (name === "AbortError") job.reject(cancelled());
    else job.reject(Object.assign(new Error(message), { name }));
    this.#go();
  }

  #end(error) {
    this.#ended = error;
    for (const job of [this.#running, ...this.#waiting]) job?.reject(error);
    this.#running = null;
    this.#waiting = [];
  }
}

/**
 * Wrap a bitmap in a frame, which is transferred without a copy; a bitmap would be copied on the
 * main thread.
 */
function frameOf(bitmap) {
  try {
    return new VideoFrame(bitmap, { timestamp: 0 });
  } catch {
    return bitmap; // not supported, or too large
  }
}

function isFrame(picture) {
  return typeof VideoFrame !== "undefined" && picture instanceof VideoFrame;
}

function cancelled() {
  return new DOMException("cancelled", "AbortError");
}

/** Return the stored backend; a new browser version is timed again. */
function remembered() {
  return ["wasm", "webgpu"].find((backend) => recall(CHOICE) === choice(backend));
}

function choice(backend) {
  return JSON.stringify([backend, navigator.userAgent]);
}
