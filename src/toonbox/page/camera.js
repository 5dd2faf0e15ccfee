/** The camera tab: live cartoons, snapshots and recordings. */

import { download, element, show, translated } from "./dom.js";
import { Engine } from "./engine.js";
import { blend, upsample } from "./guided.js";
import { loadPixels } from "./pixels.js";
import { resize, workingSize } from "./resize.js";

const WANTED = 10; // frames per second
const FIRST = 256; // initial working resolution: short side in pixels
const SMALLEST = 96;
const STEP = 16; // pixels
const WINDOW = 6; // frames per measurement of speed
const MOST_PROCESSORS = 8;
const VIEW = 360; // largest short side of the picture on the page, in pixels
const BITS = 4_000_000; // per second of a recording
const RECORDINGS = [
  "video/mp4;codecs=avc1.42E01F,mp4a.40.2",
  "video/webm;codecs=vp9,opus",
  "video/webm;codecs=vp8,opus",
  "video/webm",
  "video/mp4",
];

/** Adapts the working resolution so that about `WANTED` frames per second are drawn. */
export class Pace {
  #seconds = [];

  constructor(largest = Infinity) {
    this.largest = largest;
    this.resolution = Math.min(FIRST, largest);
  }

  /** Record the seconds that a frame took, and adapt the resolution if necessary. */
  note(seconds) {
    this.#seconds.push(seconds);
    if (this.#seconds.length < WINDOW) return;
    const rate = WINDOW / this.#seconds.reduce((sum, each) => sum + each);
    this.#seconds = [];
    if (rate > 0.9 * WANTED && rate < 1.3 * WANTED) return;
    // The work grows with the square of the short side.
    const factor = Math.min(1.5, Math.max(0.5, Math.sqrt(rate / WANTED)));
    const wanted = Math.round((this.resolution * factor) / STEP) * STEP;
    this.resolution = Math.min(this.largest, Math.max(SMALLEST, wanted));
  }
}

/** Waits for new frames of a video element, skipping those that nothing waited for. */
class NewestFrame {
  #fresh = false;
  #ended = false;
  #wake = () => {};

  constructor(video) {
    const listen = video.requestVideoFrameCallback
      ? (heard) => video.requestVideoFrameCallback(heard)
      : requestAnimationFrame;
    const heard = () => {
      if (this.#ended) return;
      this.#fresh = true;
      this.#wake();
      listen(heard);
    };
    listen(heard);
  }

  /** Resolve when there is a new frame, or the camera has ended. */
  async next() {
    if (!this.#fresh) await new Promise((resolve) => (this.#wake = resolve));
    this.#fresh = false;
  }

  /** Stop listening, and resolve a pending `next`. */
  end() {
    this.#ended = this.#fresh = true;
    this.#wake();
  }
}

/** Return the message key for an error of getUserMedia. */
function messageOf(error) {
  const known = {
    NotAllowedError: "denied",
    SecurityError: "denied",
    NotFoundError: "none",
    OverconstrainedError: "none",
    NotReadableError: "busy",
    AbortError: "busy",
  };
  return `camera.${known[error.name] ?? "failed"}`;
}

/**
 * Start two engines that draw frames alternately with half of the processors each, which scales
 * better than the threads of one engine.
 * @param {Engine} main
 * @returns {Promise<Engine[]>} empty if `main` should draw all frames: on a GPU, on a single
 *   processor, or without enough memory
 */
async function startPair(main) {
  const processors = Math.min(navigator.hardwareConcurrency || 1, MOST_PROCESSORS);
  if (main.backend !== "wasm" || processors === 1) return [];
  const half = { backend: "wasm", threads: Math.floor(processors / 2) };
  return Promise.all([Engine.start(half), Engine.start(half)]).catch(() => []);
}

/**
 * Copy the current frame of a video.
 * @param {HTMLVideoElement} video
 * @param {number} short largest short side, in pixels
 * @param {boolean} mirrored
 * @param {OffscreenCanvas} [canvas] canvas to reuse
 * @returns {ImageData}
 */
function grab(video, short, mirrored, canvas = new OffscreenCanvas(1, 1)) {
  const { videoWidth, videoHeight } = video;
  const scale = Math.min(1, short / Math.min(videoWidth, videoHeight));
  const width = Math.round(videoWidth * scale), height = Math.round(videoHeight * scale);
  const fits = canvas.width === width && canvas.height === height;
  if (!fits) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.setTransform(mirrored ? -1 : 1, 0, 0, 1, mirrored ? width : 0, 0);
  context.drawImage(video, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/** Reduce a photo to a working resolution. @returns {ImageData} */
function reduced(photo, resolution) {
  const [width, height] = workingSize(photo.width, photo.height, resolution);
  if (width === photo.width && height === photo.height) return photo;
  return new ImageData(resize(photo, width, height).data, width, height);
}

/** Upsample a cartoon to the photo's size, in place of the photo. */
function finish({ photo, small, cartoon, strength }) {
  if (small === photo) blend(photo, cartoon, strength, photo);
  else for (const _ of upsample(photo, small, cartoon, strength, photo)); // all strips
  return photo;
}

/** Return a file name with the current local time. */
function dated(suffix) {
  const time = new Date();
  const local = new Date(time - time.getTimezoneOffset() * 60_000).toISOString();
  return `camera-${local.slice(0, 19).replace("T", "-").replaceAll(":", "")}.toon.${suffix}`;
}

/**
 * Fill a section of the page with the camera.
 * @param {HTMLElement} section
 * @param {{engine: Promise<import("./engine.js").Engine>, options: () => object,
 *   t: (key: string, values?: object) => string, announce: (text: string) => void}} shell
 * @returns {{close: () => void}}
 */
export function mount(section, { engine, options, t, announce }) {
  let stream = null; // of the camera, while it runs
  let frames = null;
  let pair = null; // two engines, from the first start until the tab closes
  let recorder = null;
  let facing = "user"; // direction of the camera; only one facing the user is mirrored
  let closed = false;
  const video = element("video", { muted: true, playsInline: true });

  const text = translated(t);
  const button = (key, onclick, kind = "") =>
    text("button", key, { type: "button", class: `button ${kind}`, onclick });
  const option = (control, key) =>
    element("label", { class: "media-option" }, control, text("span", key));
  const canvas = element("canvas", { class: "media-picture", role: "img" });
  canvas.dataset.i18nLabel = "camera.view";
  canvas.ariaLabel = t("camera.view");
  const rate = element("p", { class: "caption" });
  const message = element("p", { class: "notice", role: "alert", hidden: true });
  const start = button("camera.start", open, "primary");
  const snapshot = button("camera.snapshot", takeSnapshot, "small primary");
  const record = button("camera.record", toggle, "small");
  record.ariaPressed = "false";
  const stop = button("camera.stop", () => end(), "small");
  const mirror = element("input", { type: "checkbox", checked: true });
  const sound = element("input", { type: "checkbox" });
  const choice = element("select", { onchange: open });
  const which = element("label", { class: "pair" }, text("span", "camera.which"), choice);
  const running = element(
    "div", { class: "workbench", hidden: true },
    element(
      "div", { class: "stage" },
      element(
        "div", { class: "toolbar" },
        element("div", { class: "names" }, rate),
        element("div", { class: "tools" }, stop, record, snapshot),
      ),
      element("div", { class: "mat" }, canvas),
      element("div", { "data-place": "styles" }),
    ),
    element(
      "aside", { class: "panel", "data-i18n-label": "tabs.camera", "aria-label": t("tabs.camera") },
      element("div", { "data-place": "adjust" }),
      element(
        "div", { class: "group" },
        option(mirror, "camera.mirror"), option(sound, "camera.sound"), which,
      ),
    ),
  );
  section.replaceChildren(
    element(
      "div", { class: "media-head" },
      text("h2", "camera.title"), text("p", "camera.intro", { class: "hint" }), start,
    ),
    message,
    running,
  );

  /** Show an error message, or hide it. */
  function say(key = "", values = {}) {
    message.textContent = key ? t(key, values) : "";
    show(message, Boolean(key));
  }

  /** Open the chosen camera, or the browser's default, in place of the current one. */
  async function open() {
    if (start.ariaDisabled === "true") return;
    const device = choice.value;
    end();
    if (!navigator.mediaDevices?.getUserMedia) return say("camera.insecure");
    const size = { width: { ideal: 1280 }, height: { ideal: 720 } };
    const wanted = device ? { deviceId: { exact: device } } : { facingMode: "user" };
    start.ariaDisabled = "true"; // a disabled button would lose the focus
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { ...size, ...wanted } });
      if (closed) return end();
      if (document.hidden) return end("camera.hidden");
      video.srcObject = stream;
      await video.play();
    } catch (error) {
      end();
      choice.replaceChildren(); // otherwise the next start would want the same one
      return say(messageOf(error), { reason: error.message });
    } finally {
      start.ariaDisabled = "false";
    }
    const mine = stream;
    const [track] = mine.getVideoTracks();
    track.addEventListener("ended", () => stream === mine && end("camera.ended"));
    const { deviceId, facingMode = "user" } = track.getSettings();
    if (facingMode !== facing) mirror.checked = facingMode !== "environment";
    facing = facingMode;
    await listCameras(deviceId);
    if (stream !== mine) return;
    show(running);
    show(start, false);
    snapshot.focus();
    announce(t("camera.running"));
    run(mine);
  }

  async function listCameras(current) {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const cameras = devices.filter(({ kind }) => kind === "videoinput");
    choice.replaceChildren(
      ...cameras.map(({ deviceId, label: name }, index) =>
        element(
          "option",
          { value: deviceId, selected: deviceId === current },
          name || t("camera.number", { number: index + 1 }),
        ),
      ),
    );
    show(which, cameras.length > 1);
  }

  /** Draw frame after frame until the camera ends. */
  async function run(mine) {
    frames = new NewestFrame(video);
    const paces = new Map(); // by style and resolution, which differ in speed
    const shown = []; // times of the latest frames, milliseconds
    const sketch = new OffscreenCanvas(1, 1);
    let last = null; // resolves when the previous frame is shown
    let begun = 0, took = 0; // milliseconds
    try {
      const main = await engine;
      pair ??= startPair(main);
      const [started] = await Promise.all([pair, loadPixels()]);
      const engines = started.length ? started : [main];
      const cartoons = engines.map(() => null); // in progress, by engine
      for (let turn = 0; ; turn = (turn + 1) % engines.length) {
        await cartoons[turn];
        // Start frames at even intervals.
        const early = begun + (0.9 * took) / engines.length - performance.now();
        if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
        await frames.next();
        if (stream !== mine) return;
        const wanted = options();
        const { style, strength, resolution } = wanted;
        const most = Number.isFinite(resolution) ? resolution : style.resolution;
        const key = `${style.name} ${most}`;
        if (!paces.has(key)) paces.set(key, new Pace(most));
        const pace = paces.get(key), pixels = pace.resolution;
        const start = (begun = performance.now());
        const photo = grab(video, VIEW, mirror.checked, sketch);
        const small = reduced(photo, pixels);
        const told = { ...wanted, strength: Math.ceil(strength), resolution: "native" };
        cartoons[turn] = engines[turn].cartoonize(small, told);
        const before = last;
        last = cartoons[turn].then(async (cartoon) => {
          took = performance.now() - start;
          if (pixels === pace.resolution) pace.note(took / engines.length / 1000);
          await before;
          if (stream !== mine) return;
          display(finish({ photo, small, cartoon, strength }));
          tell(shown, pixels);
        });
        last.catch(fail);
      }
    } catch (error) {
      fail(error);
    }

    function fail(error) {
      if (stream === mine) end("camera.failed", { reason: error.message });
    }
  }

  /** Show the recent frame rate and the resolution. */
  function tell(shown, pixels) {
    shown.push(performance.now());
    if (shown.length > 12) shown.shift();
    if (shown.length === 1) return;
    const mean = (shown.at(-1) - shown[0]) / (shown.length - 1);
    rate.textContent = t("camera.rate", { rate: (1000 / mean).toFixed(1), pixels });
  }

  function display(cartoon) {
    const { width, height } = cartoon;
    const fits = canvas.width === width && canvas.height === height;
    if (!fits && recorder) { // the phone was turned, but a recording keeps its size
      if (recorder.state === "inactive") return; // being saved
      recorder.stop();
      return say("camera.turned");
    }
    if (!fits) [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d", { alpha: false }).putImageData(cartoon, 0, 0);
  }

  /** Draw and save the current frame at the camera's full resolution. */
  async function takeSnapshot() {
    if (snapshot.ariaDisabled === "true") return;
    snapshot.ariaDisabled = "true";
    try {
      const photo = grab(video, Infinity, mirror.checked);
      const cartoon = await (await engine).cartoonize(photo, options());
      const paper = new OffscreenCanvas(cartoon.width, cartoon.height);
      paper.getContext("2d").putImageData(cartoon, 0, 0);
      save(await paper.convertToBlob({ type: "image/png" }), "png");
    } catch (error) {
      say("camera.failed", { reason: error.message });
    } finally {
      snapshot.ariaDisabled = "false";
    }
  }

  function save(blob, suffix) {
    const name = dated(suffix);
    download(blob, name);
    announce(t("camera.saved", { name }));
  }

  function toggle() {
    if (record.ariaDisabled === "true") return;
    if (recorder) recorder.stop();
    else startRecording();
  }

  async function startRecording() {
    say();
    if (!window.MediaRecorder) return say("camera.unrecordable");
    record.ariaDisabled = "true";
    let microphone = null;
    try {
      if (sound.checked) {
        microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
      }
    } catch {
      say("camera.silent");
    } finally {
      record.ariaDisabled = "false";
    }
    if (!stream) { // stopped while the browser asked for permission
      for (const track of microphone?.getTracks() ?? []) track.stop();
      return;
    }
    const tracks = [...canvas.captureStream().getTracks(), ...(microphone?.getTracks() ?? [])];
    const mimeType = RECORDINGS.find((each) => MediaRecorder.isTypeSupported(each));
    const parts = [];
    const mine = new MediaRecorder(new MediaStream(tracks), { mimeType, videoBitsPerSecond: BITS });
    mine.ondataavailable = ({ data }) => parts.push(data);
    mine.onstop = () => {
      for (const track of tracks) track.stop();
      recorder = null;
      sound.disabled = false;
      setRecording(false);
      const type = mine.mimeType;
      save(new Blob(parts, { type }), type.includes("mp4") ? "mp4" : "webm");
    };
    recorder = mine;
    recorder.start(1000); // milliseconds between parts
    sound.disabled = true;
    setRecording(true);
    announce(t("camera.recording"));
  }

  function setRecording(on) {
    record.ariaPressed = String(on);
    record.dataset.i18n = on ? "camera.finish" : "camera.record";
    record.textContent = t(record.dataset.i18n);
  }

  /** Stop the camera, with a message if the user did not ask for it. */
  function end(key = "", values = {}) {
    say(key, values);
    recorder?.stop();
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = video.srcObject = null;
    frames?.end();
    const focused = running.contains(document.activeElement);
    show(running, false);
    show(start);
    if (focused) start.focus();
  }

  function onVisibility() {
    if (document.hidden && stream) end("camera.hidden");
  }

  document.addEventListener("visibilitychange", onVisibility);
  return {
    close() {
      closed = true;
      document.removeEventListener("visibilitychange", onVisibility);
      end();
      section.replaceChildren();
      pair?.then((engines) => engines.forEach((each) => each.close()));
    },
  };
}
