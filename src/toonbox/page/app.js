/** The page's entry point: tabs, language, and the engine that the tabs share. */

import { Engine, listStyles } from "./engine.js";
import { currentLanguage, preferredLanguage, setLanguage, t, textOr } from "./i18n.js";
import { Photos } from "./photos.js";
import { findServer } from "./server.js";

const TABS = ["photos", "video", "camera"];
const $ = (id) => document.getElementById(id);

/** Announce a text to screen readers. */
function announce(text) {
  $("live").textContent = text;
}

/** Show a message until it is dismissed, in place of an earlier one that says the same. */
function notify(text) {
  for (const earlier of $("notices").children) {
    if (earlier.firstChild.textContent === text) earlier.remove();
  }
  const notice = document.createElement("p");
  notice.className = "notice";
  const close = Object.assign(document.createElement("button"), {
    className: "icon", textContent: "×", ariaLabel: t("page.dismiss"),
  });
  close.addEventListener("click", () => {
    notice.remove();
    $("main").focus();
  });
  notice.append(Object.assign(document.createElement("span"), { textContent: text }), close);
  $("notices").append(notice);
}

function clearNotices() {
  $("notices").replaceChildren();
}

/** Move the controls that all tabs share, styles and sliders, into a tab. */
function share(name) {
  for (const part of document.querySelectorAll("[data-shared]")) {
    const place = `[data-place="${part.dataset.shared}"]`;
    if (!part.closest(place)) { // its home, to which it returns
      const home = document.createElement("div");
      home.dataset.place = part.dataset.shared;
      part.before(home);
      home.append(part);
    }
    $(name).querySelector(place)?.append(part);
  }
}

/** Switch between photos, video and camera; load the latter two on demand. */
class Tabs {
  /**
   * @param {(name: string) => Promise<{close: () => void}>} mount
   * @param {() => void} onPhotos called when the photos are shown again
   */
  constructor(mount, onPhotos) {
    Object.assign(this, { mount, onPhotos });
    /** @type {Map<string, Promise<{close: () => void}>>} */
    this.views = new Map();
    for (const name of TABS) {
      $(`tab-${name}`).addEventListener("click", () => this.open(name));
      $(`tab-${name}`).addEventListener("keydown", (event) => this.key(event, name));
    }
    addEventListener("hashchange", () => this.openNamed());
    this.openNamed();
  }

  /** Open the tab named in the URL's fragment. */
  openNamed() {
    const name = location.hash.slice(1);
    if (TABS.includes(name)) this.open(name);
  }

  key(event, name) {
    const index = TABS.indexOf(name);
    const to = {
      ArrowRight: (index + 1) % TABS.length,
      ArrowLeft: (index + TABS.length - 1) % TABS.length,
      Home: 0,
      End: TABS.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.open(TABS[to]);
    $(`tab-${TABS[to]}`).focus();
  }

  open(name) {
    for (const each of TABS) {
      const chosen = each === name;
      $(`tab-${each}`).ariaSelected = String(chosen);
      $(`tab-${each}`).tabIndex = chosen ? 0 : -1;
      $(each).hidden = !chosen;
    }
    share(TABS[0]); // otherwise removed with a view that closes
    share(name);
    if (name !== "camera") this.close("camera"); // no recording in the background
    history.replaceState(null, "", name === TABS[0] ? location.pathname + location.search
      : `#${name}`);
    if (name === TABS[0]) this.onPhotos();
    else if (!this.views.has(name)) this.load(name);
  }

  async load(name) {
    const view = this.mount(name);
    this.views.set(name, view);
    try {
      await view;
      if (!$(name).hidden) share(name);
    } catch (error) {
      this.views.delete(name);
      const message = t("tabs.failed", { message: error.message });
      $(name).replaceChildren(Object.assign(document.createElement("p"), {
        className: "notice", textContent: message,
      }));
      announce(message);
    }
  }

  close(name) {
    const view = this.views.get(name);
    view?.then(({ close }) => { // unless it was opened again while it was loading
      if (!$(name).hidden || this.views.get(name) !== view) return;
      this.views.delete(name);
      close();
    }).catch(() => {}); // reported by `load`
  }
}

/** Accept files dropped or pasted anywhere on the page. */
function takeFiles(add) {
  let depth = 0; // dragenter and dragleave also fire for child elements
  const over = (change) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    $("drop").hidden = depth === 0;
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("dragover", over(0));
  document.addEventListener("drop", (event) => {
    over(-depth)(event);
    if (event.dataTransfer?.files.length) add([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) add([...event.clipboardData.files]);
  });
}

/** Bind the keyboard shortcuts of undo and redo on the photos tab. */
function takeShortcuts(panel) {
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || $("workbench").hidden) return;
    if ($("photos").hidden || event.target.matches("textarea, input[type=text]")) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) panel.redo();
    else panel.undo();
  });
}

/** Change the language; without its texts, go on in the present one. */
async function speak(code, lasting = false) {
  try {
    await setLanguage(code, lasting);
  } catch {
    await setLanguage(currentLanguage()).catch(() => {}); // at first it has no texts
    $("language").value = currentLanguage();
    notify(textOr("error.language", "The texts of the page could not be loaded."));
  }
}

/** Show the engine's backend in the footer. */
async function showEngine(starting) {
  try {
    const { backend, threads } = await starting;
    $("engine").textContent = backend === "webgpu" ? t("footer.webgpu")
      : t("footer.wasm", { threads });
  } catch {
    $("engine").textContent = "";
  }
}

async function start() {
  let ready;
  const add = new Promise((resolve) => (ready = resolve));
  takeFiles(async (files) => (await add)(files)); // also those dropped before all is loaded

  $("language").value = preferredLanguage();
  await speak($("language").value);
  $("language").addEventListener("change", (event) => speak(event.target.value, true));
  navigator.serviceWorker?.register(new URL("sw.js", import.meta.url)).catch(() => {
    // forbidden, or a page from disk: everything works except offline use
  });

  const starting = Engine.start();
  starting.catch(() => {}); // reported below, once there are styles
  let styles;
  try {
    styles = await listStyles();
  } catch (error) {
    notify(t("error.styles", { message: error.message }));
    return;
  }
  starting.catch((error) => notify(t("error.engine", { message: error.message })));
  const photos = new Photos({ engine: starting, styles, announce, notify, clearNotices });
  const tabs = new Tabs(async (name) => {
    const { mount } = await import(`./${name}.js`);
    const options = () => photos.panel.options();
    return mount($(name), { engine: starting, styles, options, t, announce });
  }, () => photos.resume());
  ready((files) => {
    const video = files.find(({ type }) => type.startsWith("video/"));
    tabs.open(video ? "video" : "photos");
    if (video) tabs.views.get("video")?.then((view) => view.open(video));
    const others = files.filter((file) => file !== video);
    if (others.length) photos.add(others);
  });
  takeShortcuts(photos.panel);
  showEngine(starting);
  document.addEventListener("language", () => showEngine(starting));

  $("served").hidden = !(await findServer());
  document.documentElement.dataset.ready = currentLanguage();
}

start();
