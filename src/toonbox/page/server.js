/**
 * The server behind the page, if there is one: it does with videos what a browser cannot.
 * A job outlives the tab: its number is remembered, and its result offered when the page is
 * opened again.
 */

import { element, show } from "./dom.js";

const API = new URL("api/", document.baseURI);
const STORED = "toonbox.job"; // in localStorage: {id, name}
const KNOBS = ["surface", "structure", "texture"];

/** Tell whether this page comes from `toonbox serve`. @returns {Promise<boolean>} */
export async function findServer() {
  try {
    const answer = await fetch(new URL("styles", API));
    return answer.ok && (answer.headers.get("content-type") ?? "").includes("json");
  } catch {
    return false; // a page from a disk, or offline
  }
}

/** Name the options as the API does, without those that have their default. */
function queryOf({ style, strength, resolution, ...rest }) {
  const named = { style: style.name, strength, resolution, start: rest.start, end: rest.end };
  for (const knob of KNOBS) if (style.knobs.includes(knob)) named[knob] = rest[knob];
  named.stabilize = rest.stabilize;
  const given = Object.entries(named).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given);
}

/** Return what an answer says went wrong. */
function reasonOf(text, status) {
  try {
    const { detail, message } = JSON.parse(text);
    return message ?? (typeof detail === "string" ? detail : detail?.message) ?? String(status);
  } catch {
    return String(status);
  }
}

/**
 * Send a video.
 * @param {File} file
 * @param {object} options of the style, and start, end and stabilize
 * @param {AbortSignal} signal
 * @param {(share: number) => void} onShare
 * @returns {Promise<{id: string}>}
 */
export function submit(file, options, signal, onShare) {
  const body = new FormData();
  body.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how much it has sent
    request.open("POST", new URL(`jobs?${queryOf(options)}`, API));
    request.upload.onprogress = ({ loaded, total }) => onShare(loaded / total);
    request.onload = () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(new Error(reasonOf(request.responseText, request.status)));
    };
    request.onerror = () => reject(new Error("network"));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

/** Ask how a job is doing: null if the server does not know it any more. */
export async function stateOf(id) {
  const answer = await fetch(new URL(`jobs/${id}`, API));
  return answer.ok ? answer.json() : null;
}

/**
 * Follow a job to its end.
 * @param {string} id
 * @param {(state: object) => void} onState
 * @param {AbortSignal} signal
 * @returns {Promise<object>} its last state
 */
export function follow(id, onState, signal) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(new URL(`jobs/${id}/events`, API));
    const end = (settle, value) => (events.close(), settle(value));
    events.onmessage = ({ data }) => {
      const state = JSON.parse(data);
      onState(state);
      if (["done", "failed", "cancelled"].includes(state.state)) end(resolve, state);
    };
    events.onerror = () => {
      if (events.readyState === EventSource.CLOSED) end(reject, new Error("network"));
    };
    signal.addEventListener("abort", () => end(reject, signal.reason), { once: true });
  });
}

/** Cancel a job, or delete its result. */
export async function remove(id) {
  await fetch(new URL(`jobs/${id}`, API), { method: "DELETE" });
}

export const resultOf = (id) => new URL(`jobs/${id}/result`, API).href;

function remember(job) {
  try {
    if (job) localStorage.setItem(STORED, JSON.stringify(job));
    else localStorage.removeItem(STORED);
  } catch {
    // storage is switched off: the job then lives as long as the tab
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(STORED));
  } catch {
    return null;
  }
}

/**
 * Make the part of the video tab that converts on the server; it stays hidden without one.
 * @param {{options: () => object, part: () => {start?: number, end?: number}}} view
 * @returns {{element: HTMLElement, choose: (file: File) => void, close: () => void}}
 */
export function mountServer({ options, part, t, announce, text }) {
  let file = null;
  let job = null; // {id, name} of the one on the server
  let running = null; // AbortController of what is being sent or followed
  const button = { type: "button", class: "button" };

  const level = element(
    "select", {},
    ...["off", "on", "strong"].map((value) => text("option", `server.steady.${value}`, { value })),
  );
  level.value = "on";
  const begin = text("button", "server.convert", { ...button, onclick: start });
  const status = element("p", { class: "hint", id: "server-status" });
  const bar = element("progress", { max: 1, value: 0, "aria-labelledby": "server-status" });
  const cancel = text("button", "server.cancel", { ...button, onclick: stop });
  const save = element("a", { class: "button primary" });
  const forget = text("button", "server.delete", { ...button, onclick: discard });
  const message = element("p", { class: "notice", role: "alert" });
  const form = element(
    "div", { class: "media-row" },
    element("label", { class: "media-option" }, text("span", "server.steady"), level),
    begin,
  );
  const work = element("div", { class: "media-stack" }, status, bar, cancel);
  const result = element("div", { class: "media-row" }, save, forget);
  const whole = element(
    "section", { class: "group media-stack", "aria-labelledby": "server-title", hidden: true },
    text("h3", "server.title", { id: "server-title" }),
    element("p", { class: "hint" }, t("server.intro", { host: location.host })),
    form, message, work, result,
  );

  /** Show what there is: a form if there is a video, a job's progress, or its result. */
  function arrange(state = "") {
    show(form, Boolean(file) && !running && !state);
    show(work, Boolean(running));
    show(result, state === "done");
    show(message, Boolean(message.textContent));
    show(whole, served && Boolean(file || job || message.textContent));
  }

  function tell(key, share, values = {}) {
    status.textContent = t(key, { percent: Math.floor(share * 100), ...values });
    bar.value = share;
  }

  async function start() {
    running = new AbortController();
    message.textContent = "";
    arrange();
    cancel.focus();
    try {
      const name = file.name;
      const wanted = { ...options(), ...part(), stabilize: level.value };
      const onShare = (share) => tell("server.sending", share);
      onShare(0);
      const { id } = await submit(file, wanted, running.signal, onShare);
      remember((job = { id, name }));
    } catch (error) {
      return fail(error);
    }
    await watch();
  }

  /** Follow the job to its end. */
  async function watch() {
    running ??= new AbortController();
    tell("server.waiting", 0);
    arrange();
    const onState = ({ state, progress }) =>
      tell(state === "waiting" ? "server.waiting" : "server.progress", progress ?? 0);
    try {
      end(await follow(job.id, onState, running.signal));
    } catch (error) {
      fail(error);
    }
  }

  function end({ state, detail }) {
    running = null;
    if (state !== "done") return fail(new Error(detail ?? state));
    const name = `${job.name.replace(/\.[^.]*$/, "")}.toon.mp4`;
    Object.assign(save, { href: resultOf(job.id), download: name });
    save.textContent = t("server.save", { name });
    arrange(state);
    announce(t("server.done", { name }));
    save.focus();
  }

  function fail(error) {
    running = null;
    const cancelled = error.name === "AbortError";
    if (!cancelled || !job) remember((job = null));
    if (!cancelled) message.textContent = t("server.failed", { reason: error.message });
    arrange();
    if (cancelled && !closed) announce(t("server.cancelled"));
  }

  async function stop() {
    const { id } = job ?? {};
    remember((job = null));
    running?.abort();
    if (id) await remove(id);
    begin.focus();
  }

  async function discard() {
    await stop();
    arrange();
  }

  let served = false;
  let closed = false;
  arrange();
  findServer().then(async (found) => {
    served = found && !closed;
    job = served ? remembered() : null;
    const state = job && (await stateOf(job.id));
    if (!state) remember((job = null));
    arrange();
    if (state && !closed) watch();
  });

  return {
    element: whole,
    choose(chosen) {
      file = chosen;
      if (!running) arrange(result.hidden ? "" : "done");
    },
    close() {
      closed = true;
      running?.abort();
    },
  };
}
