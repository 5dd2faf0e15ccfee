/** The photos tab: choose, draw, compare and save. */

import { Compare } from "./compare.js";
import { download } from "./dom.js";
import { Gallery, cover, reason } from "./gallery.js";
import { t } from "./i18n.js";
import { Panel, check, fill, makeStyles, quote, styleName } from "./panel.js";
import { cartoonName, readPicture, writePicture } from "./picture.js";
import { zip } from "./zip.js";

const PREVIEW = 192; // pixels; short side of previews while a slider moves
const SETTLE = 250; // milliseconds from the last change to drawing at full size
const EXTENSIONS = { "image/jpeg": "jpeg", "image/png": "png", "image/webp": "webp" };
const PHOTOGRAPHS = ["image/avif", "image/heic", "image/heif"]; // saved as JPEG, others as PNG
const EXAMPLE = "example.jpg"; // the photo in the previews of styles
const ARCHIVE = "cartoons.zip";

/** @typedef {import("./gallery.js").Entry} Entry */
/** @typedef {import("./engine.js").Style} Style */

const $ = (id) => document.getElementById(id);

export class Photos {
  /**
   * @param {{engine: Promise<import("./engine.js").Engine>, styles: Style[],
   *   announce: (text: string) => void, notify: (text: string) => void,
   *   clearNotices: () => void}} shell
   */
  constructor({ engine, styles, announce, notify, clearNotices }) {
    Object.assign(this, { engine, announce, notify, clearNotices });
    this.panel = new Panel(styles, {
      onInput: () => this.preview(), onChange: () => this.redraw(),
    });
    this.compare = new Compare($("compare"));
    this.gallery = new Gallery($("list"), {
      onOpen: (entry) => entry.state !== "failed" && this.open(entry),
      onRemove: (entry) => this.remove(entry),
    });
    /** @type {Entry|null} */
    this.current = null;
    this.picture = null; // of the current entry, from `readPicture`
    this.small = null; // the picture at preview size
    this.full = null; // the drawing at full size: {promise of ImageData, controller, wish, done}
    this.previewed = ""; // the last preview, as from `wishOf`
    this.how = ""; // the settings of entries marked as drawn
    this.reported = new Set(); // names of styles whose failure the user was told of
    this.batch = null; // AbortController of "download all"
    this.turn = 0; // number of pictures opened, to discard late results
    this.listen();
    for (const label of document.querySelectorAll(".touch-only")) {
      label.hidden = !navigator.maxTouchPoints; // elsewhere it would open a file dialog
    }
    this.welcome(styles);
    document.addEventListener("language", () => this.show());
    this.show();
  }

  listen() {
    const inputs = ["choose", "photograph", "add", "photograph-more"];
    for (const id of inputs) {
      $(id).addEventListener("change", (event) => {
        this.add([...event.target.files]);
        event.target.value = ""; // allow choosing the same file again
      });
    }
    $("example").addEventListener("click", () => this.addExample());
    for (const id of ["format", "quality"]) $(id).addEventListener("input", () => this.show());
    $("download").addEventListener("click", () => this.download());
    $("download-all").addEventListener("click", () => this.downloadAll());
    $("cancel").addEventListener("click", () => this.batch?.abort());
    for (const id of inputs) { // chosen before the page was ready
      if ($(id).files.length) $(id).dispatchEvent(new Event("change"));
    }
  }

  /** Show the previews of the styles on the example photo. @param {Style[]} styles */
  async welcome(styles) {
    const demo = new Compare($("demo"));
    const cartoons = new Map();
    const show = (name) => {
      check("demo-style", name);
      if (cartoons.has(name)) demo.showCartoon(cartoons.get(name));
    };
    const canvases = makeStyles($("demo-styles"), "demo-style", styles, (name) => {
      this.panel.choose(name);
      show(name);
    });
    show(this.panel.style.name);
    try {
      demo.showPhoto(await createImageBitmap(await fetchBlob(EXAMPLE)));
      for (const { name, preview } of styles) {
        cartoons.set(name, await createImageBitmap(await fetchBlob(preview)));
        const shown = [canvases.get(name)];
        if (!this.current) shown.push(this.panel.thumbnails.get(name)); // shown on the other tabs
        for (const canvas of shown) cover(canvas, cartoons.get(name), 0.9); // crop to the face
        canvases.get(name).classList.add("drawn");
        if (name === this.panel.style.name) show(name);
      }
    } catch {
      // optional
    }
  }

  /** Add files and open the first readable one. @param {File[]} files */
  async add(files) {
    this.clearNotices();
    const added = files.map((file) => this.gallery.add(file));
    this.show();
    let opened = false;
    for (const entry of added) {
      if (!this.gallery.has(entry)) continue; // removed in the meantime
      opened = (opened ? await this.inspect(entry) : await this.open(entry)) || opened;
    }
    const failed = added.filter((entry) => entry.state === "failed");
    for (const { file, error } of failed) this.notify(`${file.name}: ${reason(error)}`);
    if (!this.current) failed.forEach((entry) => this.gallery.remove(entry));
    this.show();
  }

  /** Add the example photo. */
  async addExample() {
    try {
      const file = new File([await fetchBlob(EXAMPLE)], "example.jpg", { type: "image/jpeg" });
      await this.add([file]);
    } catch (error) {
      this.notify(reason(error));
    }
  }

  /** Read an entry's picture, or mark the entry as failed. @param {Entry} entry */
  async read(entry) {
    try {
      if (entry.file.type.startsWith("video/")) {
        throw Object.assign(new Error("a video"), { code: "video" });
      }
      const picture = await readPicture(entry.file);
      if (entry.state === "reading") this.gallery.set(entry, "ready");
      this.gallery.paint(entry, picture.bitmap);
      return picture;
    } catch (error) {
      this.gallery.set(entry, "failed", error);
      return null;
    }
  }

  /** Return whether an entry is readable. @returns {Promise<boolean>} */
  async inspect(entry) {
    const picture = await this.read(entry);
    picture?.bitmap.close();
    return picture !== null;
  }

  /** Open an entry and draw it. @returns {Promise<boolean>} whether it is readable */
  async open(entry) {
    const turn = ++this.turn;
    const picture = await this.read(entry);
    if (!picture) return false;
    const { bitmap, width, height } = picture;
    const scale = Math.min(1, PREVIEW / Math.min(width, height));
    const small = await createImageBitmap(bitmap, {
      resizeWidth: Math.max(1, Math.round(width * scale)),
      resizeHeight: Math.max(1, Math.round(height * scale)),
      resizeQuality: "high",
    });
    if (turn !== this.turn || !this.gallery.has(entry)) {
      bitmap.close();
      small.close();
      return true;
    }
    const first = !this.current;
    this.close();
    Object.assign(this, { current: entry, picture, small });
    this.compare.showPhoto(bitmap);
    this.gallery.mark(entry);
    this.show();
    if (first) $("title").focus();
    this.redraw(0);
    this.drawThumbnails(turn);
    return true;
  }

  /** Close the open picture. */
  close() {
    this.stop();
    this.picture?.bitmap.close();
    this.small?.close();
    Object.assign(this, { current: null, picture: null, small: null });
  }

  /** Remove an entry; if it was open, open another or return to the start screen. */
  remove(entry) {
    const next = this.gallery.remove(entry);
    if (!this.gallery.has(this.current)) { // also one removed just before, while another is read
      this.turn++;
      const other = next?.state === "failed" ? this.gallery.usable[0] : next;
      if (other) this.open(other);
      else {
        this.close();
        for (const failed of [...this.gallery.entries]) this.gallery.remove(failed);
      }
    }
    this.show();
    if (!this.current && !next) $("choose").focus();
    else if (next?.item.isConnected && !$("files").hidden) this.gallery.focus(next);
    else $("add").focus();
  }

  /** Draw and show a preview now. */
  async preview() {
    const { turn, small } = this;
    const options = this.panel.options();
    const wish = wishOf(turn, options);
    if (!small || wish === this.previewed || $("photos").hidden) return;
    this.previewed = wish;
    this.reported.clear();
    this.stop();
    this.drawn = "";
    this.forgetDrawn(wishOf(0, options));
    this.show();
    try {
      const engine = await this.engine;
      const image = await engine.cartoonize(small, options, { lane: "preview" });
      const wanted = () => turn === this.turn && !this.full?.done;
      if (wanted() && (await this.compare.showCartoon(image, wanted))) this.drawn = "preview";
    } catch (error) {
      if (turn !== this.turn || wish !== this.previewed || error.name === "AbortError") return;
      this.previewed = ""; // the same may be wanted again
      this.compare.hideCartoon();
      this.failed(error, options.style);
    }
  }

  /** Draw at full size once the settings have stopped changing. */
  redraw(settle = SETTLE) {
    if (!this.picture || $("photos").hidden) return; // `resume` redraws later
    this.preview();
    this.show();
    if (this.full?.wish === wishOf(this.turn, this.panel.options())) return;
    this.stop();
    this.timer = setTimeout(() => this.draw().catch(() => {}), settle);
  }

  /** Unmark entries as drawn if the settings have changed. */
  forgetDrawn(how) {
    if (how === this.how) return;
    this.how = how;
    for (const entry of this.gallery.usable) {
      if (entry.state === "done") this.gallery.set(entry, "ready");
    }
  }

  /** Redraw if settings were changed on another tab. */
  resume() {
    this.redraw(0);
  }

  /** Record what is shown: "preview", "true" for full size, or "" for neither. */
  set drawn(what) {
    $("photos").dataset.drawn = what;
  }

  /** Stop drawing at full size. */
  stop() {
    clearTimeout(this.timer);
    this.full?.controller.abort();
    this.full = null;
  }

  /**
   * Draw at full size with the current settings, unless finished or in progress.
   * @returns {Promise<ImageData>}
   */
  draw() {
    clearTimeout(this.timer);
    if (!this.full) {
      const controller = new AbortController();
      const wish = wishOf(this.turn, this.panel.options());
      const full = { controller, wish, done: false, share: 0 };
      this.full = full;
      full.promise = this.drawFull(full, this.current);
      this.showProgress();
    }
    return this.full.promise;
  }

  async drawFull(full, entry) {
    const { picture } = this;
    const { style } = this.panel;
    const options = this.panel.options();
    const mine = () => this.full === full;
    this.gallery.set(entry, "drawing");
    try {
      const engine = await this.engine;
      const image = await engine.cartoonize(picture.bitmap, options, {
        lane: "full",
        signal: full.controller.signal,
        onProgress: (share) => {
          full.share = share;
          if (mine()) this.showProgress();
        },
      });
      full.done = true;
      if (await this.compare.showCartoon(image, mine)) this.drawn = "true";
      this.gallery.set(entry, "done");
      this.gallery.paint(entry, this.compare.cartoon);
      if (mine()) {
        this.announce(t("photos.done", { name: entry.file.name, style: styleName(style.name) }));
      }
      return image;
    } catch (error) {
      this.gallery.set(entry, "ready");
      if (mine()) {
        this.full = null;
        this.failed(error, style);
      }
      throw error;
    } finally {
      this.showProgress();
    }
  }

  /** Report a failure to draw once, unless it was aborted. */
  failed(error, style) {
    if (error.name === "AbortError" || this.reported.has(style.name)) return;
    this.reported.add(style.name);
    const name = styleName(style.name);
    this.notify(error.name === "NetworkError" ? t("error.model", { style: name })
      : t("error.drawing", { style: name, message: error.message }));
  }

  /** Draw the preview of the open picture in every style. */
  async drawThumbnails(turn) {
    const { small } = this;
    for (const canvas of this.panel.thumbnails.values()) {
      cover(canvas, small);
      canvas.classList.add("waiting");
    }
    const engine = await this.engine;
    await this.full?.promise.catch(() => {}); // the open picture has priority
    for (const style of this.panel.styles) {
      if (turn !== this.turn) return;
      try {
        const image = await engine.cartoonize(small, { style }, { lane: "thumbnails" });
        if (turn !== this.turn) return;
        const bitmap = await createImageBitmap(image);
        const canvas = this.panel.thumbnails.get(style.name);
        cover(canvas, bitmap);
        canvas.classList.remove("waiting");
        bitmap.close();
      } catch (error) {
        if (turn === this.turn) this.failed(error, style);
      }
    }
  }

  /** Return the MIME type to save for a picture's type. */
  type(original) {
    if ($("format").value) return $("format").value;
    if (original in EXTENSIONS) return original;
    return PHOTOGRAPHS.includes(original) ? "image/jpeg" : "image/png";
  }

  /** Encode a cartoon with its photo's metadata, and name it after the photo. */
  async encode(image, { name, type, exif }) {
    const written = this.type(type);
    const quality = Number($("quality").value) / 100;
    const blob = await writePicture(image, { type: written, quality, exif });
    return { name: cartoonName(name, blob.type), blob }; // some browsers cannot write WebP
  }

  /** Download the open picture once it is drawn, with the settings as they are now. */
  async download() {
    const { current, picture } = this;
    const options = this.panel.options();
    try {
      const { name, blob } = await this.draw().then(
        (image) => this.encode(image, picture),
        (error) => { // other settings or another picture ended it
          if (error.name !== "AbortError") throw error;
          return this.drawOne(current, options, new AbortController().signal, () => {});
        },
      );
      download(blob, name);
      this.announce(t("save.saved", { name }));
    } catch (error) {
      if (error.name !== "AbortError") this.notify(`${picture.name}: ${reason(error)}`);
    }
  }

  /** Draw all pictures with the current settings, and download them as one archive. */
  async downloadAll() {
    if (this.batch) return;
    this.batch = new AbortController();
    const { signal } = this.batch;
    const options = this.panel.options();
    const entries = this.gallery.usable;
    const files = new Map();
    const problems = [];
    this.showBatch(0, entries.length);
    this.show();
    $("cancel").focus();
    for (const [index, entry] of entries.entries()) {
      if (signal.aborted) break;
      if (!this.gallery.has(entry)) continue; // removed in the meantime
      try {
        files.set(entry, await this.drawOne(entry, options, signal, (share) => {
          this.showBatch(index + share, entries.length);
        }));
      } catch (error) {
        if (signal.aborted || !this.gallery.has(entry)) continue;
        problems.push(`${entry.file.name}: ${reason(error)}`);
      }
    }
    const kept = [...files].filter(([entry]) => this.gallery.has(entry)).map(([, file]) => file);
    try {
      if (kept.length && !signal.aborted) {
        download(await zip(kept), ARCHIVE);
        this.announce(t("save.archived", { count: kept.length, name: ARCHIVE }));
      }
    } catch (error) {
      problems.push(`${ARCHIVE}: ${reason(error)}`);
    }
    problems.forEach((problem) => this.notify(problem));
    const hadFocus = $("batch").contains(document.activeElement);
    this.batch = null;
    this.show();
    if (hadFocus) $("download-all").focus();
  }

  /** Draw a picture that need not be open. @returns {Promise<{name: string, blob: Blob}>} */
  async drawOne(entry, options, signal, onProgress) {
    const before = entry.state === "done" ? "done" : "ready"; // what is drawn now may end earlier
    const picture = await this.read(entry);
    if (!picture) throw entry.error;
    this.gallery.set(entry, "drawing");
    try {
      const engine = await this.engine;
      const image = await engine.cartoonize(picture.bitmap, options, { signal, onProgress });
      const file = await this.encode(image, picture);
      this.gallery.set(entry, "done");
      return file;
    } catch (error) {
      if (signal.aborted) this.gallery.set(entry, before);
      else this.gallery.set(entry, "failed", error);
      throw error;
    } finally {
      picture.bitmap.close();
    }
  }

  /** Update the tab to the state and the current language. */
  show() {
    const { picture, gallery } = this;
    const several = gallery.entries.length > 1;
    $("welcome").hidden = Boolean(picture);
    $("workbench").hidden = !picture;
    $("files").hidden = !several;
    const usable = gallery.usable.length;
    $("download-all").hidden = usable < 2 || Boolean(this.batch);
    $("download-all").textContent = t("save.all", { count: usable });
    $("batch").hidden = !this.batch;
    $("quality-row").hidden = this.type(picture?.type) === "image/png";
    const quality = $("quality").value;
    document.querySelector("output[for=quality]").textContent = quality;
    fill($("quality"));
    this.panel.show();
    this.showProgress();
    if (!picture) return;
    const { name, width, height } = picture;
    const written = this.type(picture.type);
    $("title").textContent = name;
    $("caption").textContent = t("photos.caption", {
      width, height, name: cartoonName(name, written),
    });
    const words = ["toonbox", quote(name), ...this.panel.commandOptions()];
    if (written !== picture.type) words.push("--format", EXTENSIONS[written]);
    if (quality !== "95" && written !== "image/png") words.push("--quality", quality);
    $("command").textContent = words.join(" ");
  }

  showProgress() {
    const { full } = this;
    $("working").hidden = !full || full.done;
    $("working-text").textContent = t("photos.drawing");
    $("progress").value = full?.share ?? 0;
  }

  showBatch(done, count) {
    $("batch-text").textContent = t("save.progress", { number: Math.floor(done) + 1, count });
    $("batch-progress").value = done / count;
  }
}

/** Fetch a file of the site. @param {string} path @returns {Promise<Blob>} */
async function fetchBlob(path) {
  const answer = await fetch(new URL(path, import.meta.url));
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.blob();
}

/** Serialise a request to draw: the picture and the settings. */
function wishOf(turn, { style, ...values }) {
  return JSON.stringify([turn, style.name, values]);
}
