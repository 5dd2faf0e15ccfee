/** The list of photos, each with its thumbnail, state, and error if it failed. */

import { t } from "./i18n.js";

const THUMBNAIL = 112; // pixels, square

/**
 * @typedef {Object} Entry
 * @property {File} file
 * @property {"reading"|"ready"|"drawing"|"done"|"failed"} state
 * @property {Error|null} error reason for a failure
 * @property {HTMLLIElement} item
 */

export class Gallery {
  /**
   * @param {HTMLUListElement} list
   * @param {{onOpen: (entry: Entry) => void, onRemove: (entry: Entry) => void}} listeners
   */
  constructor(list, { onOpen, onRemove }) {
    this.list = list;
    this.onOpen = onOpen;
    this.onRemove = onRemove;
    /** @type {Entry[]} */
    this.entries = [];
    document.addEventListener("language", () => this.entries.forEach((entry) => this.show(entry)));
  }

  /** Entries that did not fail. */
  get usable() {
    return this.entries.filter((entry) => entry.state !== "failed");
  }

  /** Return whether an entry has not been removed. @param {Entry|null} entry */
  has(entry) {
    return this.entries.includes(entry);
  }

  /** Add a file. @param {File} file @returns {Entry} */
  add(file) {
    const item = make("li");
    const pick = make("button", "pick");
    const remove = make("button", "icon remove", "×");
    const canvas = Object.assign(document.createElement("canvas"), {
      width: THUMBNAIL, height: THUMBNAIL,
    });
    canvas.ariaHidden = "true";
    const texts = make("span", "texts");
    texts.append(make("span", "name", file.name), make("span", "state"));
    pick.append(canvas, texts);
    item.append(pick, remove);
    const entry = { file, state: "reading", error: null, item };
    pick.addEventListener("click", () => this.onOpen(entry));
    remove.addEventListener("click", () => this.onRemove(entry));
    this.entries.push(entry);
    this.list.append(item);
    this.show(entry);
    return entry;
  }

  /**
   * Remove an entry.
   * @param {Entry} entry
   * @returns {Entry|undefined} the entry to focus next
   */
  remove(entry) {
    const index = this.entries.indexOf(entry);
    if (index >= 0) this.entries.splice(index, 1);
    entry.item.remove();
    return this.entries[index] ?? this.entries.at(-1);
  }

  /** Set the state of an entry. */
  set(entry, state, error = null) {
    Object.assign(entry, { state, error });
    this.show(entry);
  }

  /** Mark the open entry. @param {Entry|null} current */
  mark(current) {
    for (const { item } of this.entries) {
      item.firstElementChild.ariaCurrent = String(item === current?.item);
    }
  }

  /** Draw an entry's thumbnail. */
  paint(entry, picture) {
    cover(entry.item.querySelector("canvas"), picture);
  }

  /** Move the focus to an entry. */
  focus(entry) {
    entry.item.firstElementChild.focus();
  }

  show({ item, state, error, file }) {
    item.dataset.state = state;
    item.querySelector(".state").textContent = {
      reading: () => t("files.reading"),
      ready: () => t("files.ready"),
      drawing: () => t("files.drawing"),
      done: () => t("files.done"),
      failed: () => reason(error),
    }[state]();
    item.querySelector(".remove").ariaLabel = t("files.remove", { name: file.name });
  }
}

/** Return a translated error message for a picture. @param {Error} error */
export function reason(error) {
  if (error.code === "not-a-picture") return t("error.not-a-picture");
  if (error.code === "too-large") return t("error.too-large");
  if (error.code === "video") return t("error.video");
  return t("error.other", { message: error.message });
}

/**
 * Fill a square canvas with a crop of a picture.
 * @param {HTMLCanvasElement} canvas
 * @param {ImageBitmap|HTMLCanvasElement} picture
 * @param {number} [place] position of the crop along the longer side, 0 to 1
 */
export function cover(canvas, picture, place = 0.5) {
  const side = Math.min(picture.width, picture.height);
  const [x, y] = [(picture.width - side) * place, (picture.height - side) * place];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, x, y, side, side, 0, 0, canvas.width, canvas.height);
}

function make(tag, className = "", text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
}
