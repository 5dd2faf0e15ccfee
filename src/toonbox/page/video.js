/** The video tab: choose, trim, preview a frame, and convert here or on the server. */

import { convert, frameAt, openVideo, videoOptions, VideoError } from "./convert.js";
import { clock, element, show, translated } from "./dom.js";
import { mountServer } from "./server.js";

const LARGE = 200_000_000; // bytes; larger videos are by default written to a file
const SPOKEN = 0.25; // interval of announcements of progress

/** Return the name of the result: clip.mov becomes clip.toon.mp4. */
export function videoName(name) {
  return `${name.replace(/\.[^.]*$/, "")}.toon.mp4`;
}

/**
 * Fill a section of the page with the conversion of videos.
 * @param {HTMLElement} section
 * @param {{engine: Promise<import("./engine.js").Engine>, options: () => object,
 *   t: (key: string, values?: object) => string, announce: (text: string) => void}} shell
 * @returns {{open: (file: File) => Promise<void>, close: () => void}}
 */
export function mount(section, { engine, options, t, announce }) {
  /** @type {import("./convert.js").Video|null} */
  let video = null;
  let opened = 0; // number of videos chosen, to discard late results
  let running = null; // the AbortController of a conversion
  let href = null; // of the result
  let unsaved = false; // whether there is a result that has not been downloaded
  let drawn = ""; // the preview's video, time and options, as JSON
  let decoding = null; // a promise while frames are decoded
  let looked = null; // {time, photo, begins}: the last decoded frame and its time
  const listeners = new AbortController();
  const { signal } = listeners;
  const text = translated(t);
  const button = (key, kind = "") =>
    text("button", key, { type: "button", class: `button ${kind}` });
  const number = () => element("input", { type: "number", min: 0, step: "any", required: true });
  const pair = (key, control) => element("label", { class: "pair" }, text("span", key), control);

  const choose = element("input", { type: "file", accept: "video/*,.mkv", class: "hidden" });
  const message = element("p", { class: "notice", role: "alert", hidden: true });
  const canvas = element("canvas", { class: "media-picture", role: "img" });
  const title = element("h3");
  const position = element("input", { type: "range", min: 0, step: "any", value: 0 });
  const shownTime = element("p", { class: "caption" });
  const notes = element("ul", { class: "hint media-notes" });
  const [start, end] = [number(), number()];
  const startHere = button("video.start-here", "small");
  const endHere = button("video.end-here", "small");
  const toFile = element("input", { type: "checkbox" });
  const begin = button("video.convert", "primary wide");
  const status = element("p", { class: "hint", id: "video-status" });
  const bar = element("progress", { max: 1, value: 0, "aria-labelledby": "video-status" });
  const cancel = button("video.cancel", "wide");
  const player = element("video", { controls: true, playsInline: true, class: "media-picture" });
  player.dataset.i18nLabel = "video.result";
  player.ariaLabel = t("video.result");
  const save = element("a", { class: "button primary wide" }, text("span", "video.save"));
  const work = element("div", { class: "media-stack", hidden: true }, status, bar, cancel);
  const result = element("div", { class: "media-stack", hidden: true }, player, save);
  const server = mountServer({ options, part, t, announce, text, signal });
  const workbench = element(
    "div", { class: "workbench", hidden: true },
    element(
      "div", { class: "stage" },
      element("div", { class: "toolbar" }, element("div", { class: "names" }, title, shownTime)),
      element("div", { class: "mat" }, canvas),
      element("label", { class: "media-position" }, text("span", "video.position"), position),
      notes,
      element("div", { "data-place": "styles" }),
    ),
    element(
      "aside", { class: "panel", "data-i18n-label": "tabs.video", "aria-label": t("tabs.video") },
      element("div", { "data-place": "adjust" }),
      element(
        "div", { class: "group media-stack", role: "group", "aria-labelledby": "video-part" },
        text("h3", "video.part", { id: "video-part" }),
        pair("video.start", start),
        pair("video.end", end),
        element("div", { class: "media-row" }, startHere, endHere),
        element(
          "label", { class: "media-option", hidden: !window.showSaveFilePicker },
          toFile, text("span", "video.to-file"),
        ),
        begin, work, result,
      ),
    ),
  );
  section.replaceChildren(
    element(
      "div", { class: "media-head" },
      text("h2", "video.title"),
      text("p", "video.intro", { class: "hint" }),
      element("label", { class: "button primary" }, choose, text("span", "video.choose")),
    ),
    message,
    workbench,
    server.element,
  );

  /** Show an error message, or hide it. */
  function complain(key = "", values = {}) {
    message.textContent = key ? t(key, values) : "";
    show(message, Boolean(key));
  }

  function fail(error, name = video?.file.name) {
    if (error instanceof VideoError) complain(`video.error.${error.code}`, { name, ...error.values });
    else complain("video.error.failed", { reason: error.message });
  }

  async function open(file) {
    if (running) return announce(status.textContent); // one at a time
    complain();
    const turn = ++opened;
    try {
      const chosen = await openVideo(file);
      // Another was chosen, or the one before is being converted, in the meantime.
      if (turn !== opened || running || !mayForget(file.name)) return chosen.input.dispose();
      forget();
      server.choose(file);
      video = chosen;
    } catch (error) {
      if (turn !== opened || running) return;
      if (!unsaved) forget();
      server.choose(file);
      return fail(error, file.name);
    }
    title.textContent = file.name;
    label();
    const seconds = Math.floor(video.seconds * 1000) / 1000;
    for (const field of [position, start, end]) field.max = seconds;
    position.value = start.value = 0;
    end.value = seconds;
    toFile.checked = file.size > LARGE;
    const said = ["video.note.steady", ...(video.hdr ? ["video.note.hdr"] : [])];
    notes.replaceChildren(...said.map((key) => text("li", key)));
    show(workbench);
    announce(t("video.opened", { name: file.name, time: clock(video.seconds) }));
    position.focus();
    look();
  }

  function label() {
    if (video) canvas.setAttribute("aria-label", t("video.preview", { name: video.file.name }));
  }

  /** Ask whether a result that has not been downloaded may be lost to another video. */
  function mayForget(name) {
    return !unsaved || confirm(t("video.discard", { result: save.download, name }));
  }

  /** Release the video and the result. */
  function forget() {
    video?.input.dispose();
    video = looked = decoding = null;
    drawn = "";
    player.removeAttribute("src");
    if (href) URL.revokeObjectURL(href);
    href = null;
    unsaved = false;
    show(workbench, false);
    show(result, false);
  }

  /**
   * Return the start and end of the chosen part, in seconds, without the ends of the video; nothing
   * for a file that only the server can read.
   */
  function part(file) {
    if (video?.file !== file) return {};
    const wanted = {};
    if (Number(start.value) > 0) wanted.start = Number(start.value);
    if (end.value && Number(end.value) < Number(end.max)) wanted.end = Number(end.value);
    return wanted;
  }

  /** Return the time at which the frame shown begins, or the chosen one until it is decoded. */
  function startOfFrame() {
    if (looked?.time !== Number(position.value)) return position.value;
    return Math.max(0, Math.floor(looked.begins * 1e6) / 1e6); // rounded up, it would be too late
  }

  /** Decode the frame at the chosen position, one at a time however fast the slider moves. */
  async function decode(mine) {
    try {
      while (video === mine && looked?.time !== Number(position.value)) {
        const time = Number(position.value);
        const frame = await frameAt(mine, time);
        if (video === mine) looked = { time, ...frame };
      }
    } finally {
      if (video === mine) decoding = null;
    }
  }

  /** Draw the frame at the chosen position if it or the settings have changed. */
  async function look() {
    const percent = video ? (100 * position.value) / position.max : 0;
    position.style.setProperty("--fill", `${percent}%`);
    if (!video || section.hidden) return;
    const mine = video;
    const time = Number(position.value);
    shownTime.textContent = `${clock(time)} / ${clock(mine.seconds)}`;
    position.ariaValueText = shownTime.textContent;
    const wanted = videoOptions(options());
    const wish = JSON.stringify([mine.file.name, time, wanted]);
    if (wish === drawn) return;
    drawn = wish;
    try {
      if (looked?.time !== time) await (decoding ??= decode(mine));
      if (drawn !== wish) return;
      const cartoon = await (await engine).cartoonize(looked.photo, wanted, { lane: "video" });
      if (drawn !== wish) return;
      [canvas.width, canvas.height] = [cartoon.width, cartoon.height];
      canvas.getContext("2d").putImageData(cartoon, 0, 0);
      canvas.dataset.time = time;
    } catch (error) {
      if (drawn !== wish || error.name === "AbortError") return;
      fail(error);
    }
  }

  /** Ask for the file to write to; return null if that was cancelled. */
  async function pickFile(name) {
    const types = [{ accept: { "video/mp4": [".mp4"] } }];
    try {
      return await window.showSaveFilePicker({ suggestedName: name, types });
    } catch (error) {
      if (error.name === "AbortError") return null;
      throw error;
    }
  }

  /** Remove the chosen file if nothing was written to it; choosing creates it. */
  async function removeEmpty(file) {
    try {
      if ((await file.getFile()).size === 0) await file.remove();
    } catch {
      // not supported, or the file no longer exists
    }
  }

  async function run() {
    for (const field of [start, end]) if (!field.reportValidity()) return;
    if (Number(end.value) <= Number(start.value)) return complain("video.error.part");
    complain();
    const name = videoName(video.file.name);
    const file = toFile.checked ? await pickFile(name) : undefined;
    if (file === null) return;
    running = new AbortController();
    setRunning(true);
    const begun = performance.now();
    let spoken = 0;
    const onProgress = ({ frames, share }) => {
      const left = ((performance.now() - begun) / 1000) * (1 / share - 1);
      bar.value = share;
      status.textContent = t("video.progress", {
        percent: Math.floor(share * 100), frames, left: clock(left),
      });
      if (share >= spoken + SPOKEN && share < 1) {
        spoken = Math.floor(share / SPOKEN) * SPOKEN;
        announce(status.textContent);
      }
    };
    const awake = await navigator.wakeLock?.request("screen").catch(() => null);
    try {
      const done = await convert(video, await engine, videoOptions(options()), {
        ...part(video.file),
        writable: await file?.createWritable(),
        signal: running.signal,
        onProgress,
      });
      await showResult(name, done, file);
    } catch (error) {
      if (file) await removeEmpty(file);
      if (error.name === "AbortError") announce(t("video.cancelled"));
      else fail(error);
    } finally {
      await awake?.release();
      running = null;
      setRunning(false);
    }
  }

  async function showResult(name, { blob, frames, codec, lost }, file) {
    if (href) URL.revokeObjectURL(href);
    href = URL.createObjectURL(blob ?? (await file.getFile()));
    unsaved = Boolean(blob); // a file is already saved
    player.src = href;
    Object.assign(save, { href, download: name });
    show(save, unsaved);
    show(result);
    const key = blob ? "video.done" : "video.saved";
    const said = [t(key, { frames, name: file?.name ?? name })];
    if (codec !== "avc") said.push(t("video.note.codec", { codec: codec.toUpperCase() }));
    if (lost) said.push(t("video.note.sound"));
    announce(said.join(" "));
    complain(); // hide an earlier message
    notes.replaceChildren(...said.map((each) => element("li", {}, each)));
  }

  function setRunning(on) {
    show(work, on);
    show(begin, !on);
    for (const control of [start, end, startHere, endHere, toFile, choose]) {
      control.disabled = on;
    }
    if (!on) return (result.hidden ? begin : save.hidden ? player : save).focus();
    bar.value = 0;
    status.textContent = t("video.starting");
    show(result, false);
    cancel.focus();
  }

  choose.addEventListener("change", () => {
    if (choose.files[0]) open(choose.files[0]);
    choose.value = ""; // allow choosing the same file again
  });
  position.addEventListener("input", look);
  startHere.addEventListener("click", () => (start.value = startOfFrame()));
  endHere.addEventListener("click", () => (end.value = position.value));
  begin.addEventListener("click", run);
  cancel.addEventListener("click", () => running?.abort());
  // The settings are outside this section: any control may have changed them.
  for (const kind of ["input", "change", "click"]) {
    document.addEventListener(kind, () => setTimeout(look), { signal });
  }
  document.addEventListener("language", label, { signal });
  save.addEventListener("click", () => (unsaved = false));
  window.addEventListener("beforeunload", (event) => {
    if (running || unsaved || server.sending()) event.preventDefault();
  }, { signal });

  return {
    open,
    close() {
      listeners.abort();
      running?.abort();
      server.close();
      forget();
      section.replaceChildren();
    },
  };
}
