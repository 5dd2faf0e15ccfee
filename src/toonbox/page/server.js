/**
 * Conversion of videos by `toonbox serve`, if it serves the page. A job outlives the tab: its id is
 * stored, and its result is offered when the page is opened again.
 */

import { element, recall, remember, show } from "./dom.js";
import { KNOBS } from "./settings.js";

const API = new URL("api/", document.baseURI);
const STORED = "toonbox.job"; // localStorage key of the job's id
const PATIENCE = 3; // attempts in a row to reach the server
const ENDED = ["done", "failed", "cancelled"];

/** The server does not answer, so the state of the job is unknown. */
class Unreachable extends Error {
  name = "Unreachable";
}

/** Return whether `toonbox serve` serves this page. @returns {Promise<boolean>} */
export async function findServer() {
  try {
    const answer = await fetch(new URL("styles", API));
    return answer.ok && (answer.headers.get("content-type") ?? "").includes("json");
  } catch {
    return false; // a page from disk, or offline
  }
}

/** Return the API's query for options, without undefined ones. */
function queryOf({ style, strength, resolution, ...rest }) {
  const named = { style: style.name, strength, resolution, start: rest.start, end: rest.end };
  for (const knob of KNOBS) if (style.knobs.includes(knob)) named[knob] = rest[knob];
  named.stabilize = rest.stabilize;
  const given = Object.entries(named).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given);
}

/** Return the detail of an application/problem+json response. */
function reasonOf(text, status) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return String(status);
  }
}

/**
 * A job, as returned by the API.
 * @typedef {{id: string, state: "waiting"|"running"|"done"|"failed"|"cancelled",
 *   progress: {share: number|null}, message: string|null, name: string|null}} Job
 */

/**
 * Send a video.
 * @param {File} file
 * @param {object} options options of the style, start, end and stabilize
 * @param {AbortSignal} signal
 * @param {(share: number) => void} onShare
 * @returns {Promise<Job>}
 */
export function submit(file, options, signal, onShare) {
  const body = new FormData();
  body.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch has no upload progress
    request.open("POST", new URL(`jobs?${queryOf(options)}`, API));
    request.upload.onprogress = ({ loaded, total }) => onShare(loaded / total);
    request.onload = () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText));
      else reject(new Error(reasonOf(request.responseText, request.status)));
    };
    request.onerror = () => reject(new Unreachable());
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}

/**
 * Fetch a job.
 * @returns {Promise<Job|null>} null if the server no longer has it
 */
export async function stateOf(id) {
  const answer = await fetch(new URL(`jobs/${id}`, API));
  return answer.ok ? answer.json() : null;
}

/**
 * Follow a job until it ends.
 * @param {string} id
 * @param {(job: Job) => void} onChange
 * @param {AbortSignal} signal
 * @returns {Promise<Job>} in its final state
 */
export function follow(id, onChange, signal) {
  return new Promise((resolve, reject) => {
    let failures = 0; // in a row
    const events = new EventSource(new URL(`jobs/${id}/events`, API));
    const end = (settle, value) => (events.close(), settle(value));
    events.addEventListener("job", ({ data }) => {
      failures = 0;
      const job = JSON.parse(data);
      onChange(job);
      if (ENDED.includes(job.state)) end(resolve, job);
    });
    events.onerror = () => { // unless the browser reconnects
      failures += 1;
      const given = events.readyState === EventSource.CLOSED || failures === PATIENCE;
      if (given) end(reject, new Unreachable());
    };
    signal.addEventListener("abort", () => end(reject, signal.reason), { once: true });
  });
}

/**
 * Cancel a job, or delete its result.
 * @throws {Unreachable} it has not been deleted
 */
export async function remove(id) {
  const url = new URL(`jobs/${id}`, API);
  const answer = await fetch(url, { method: "DELETE" }).catch(() => null);
  if (!answer?.ok && answer?.status !== 404) throw new Unreachable();
}

export const resultOf = (id) => new URL(`jobs/${id}/result`, API).href;

/**
 * Create the section of the video tab that converts on the server; it is hidden without one.
 * @param {{options: () => object, part: (file: File) => {start?: number, end?: number},
 *   signal: AbortSignal}} view its signal ends what listens
 * @returns {{element: HTMLElement, choose: (file: File) => void, sending: () => boolean,
 *   close: () => void}} sending: whether a file is being sent, which ends with the page
 */
export function mountServer({ options, part, t, announce, text, signal }) {
  let file = null;
  let id = null; // of the job on the server
  let running = null; // AbortController of the upload or the job
  const button = { type: "button", class: "button" };

  const level = element(
    "select", {},
    text("option", "server.steady.default", { value: "" }), // on, if the server has OpenCV
    ...["off", "on", "strong"].map((value) => text("option", `server.steady.${value}`, { value })),
  );
  const begin = text("button", "server.convert", { ...button, onclick: start });
  const intro = element("p", { class: "hint" });
  const introduce = () => (intro.textContent = t("server.intro", { host: location.host }));
  introduce();
  document.addEventListener("language", introduce, { signal });
  const status = element("p", { class: "hint", id: "server-status" });
  const bar = element("progress", { max: 1, value: 0, "aria-labelledby": "server-status" });
  const cancel = text("button", "server.cancel", { ...button, onclick: discard });
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
    intro,
    form, message, work, result,
  );

  /** Show the form if there is a video, the progress of a job, or its result. */
  function arrange() {
    show(form, Boolean(file) && !running);
    show(work, Boolean(running));
    show(result, Boolean(id && save.href) && !running);
    show(message, Boolean(message.textContent));
    show(whole, served && Boolean(file || id || message.textContent));
  }

  function tell(key, share, values = {}) {
    status.textContent = t(key, { percent: Math.floor(share * 100), ...values });
    bar.value = share;
  }

  async function start() {
    running = new AbortController();
    keep(null);
    save.removeAttribute("href");
    message.textContent = "";
    const onShare = (share) => tell("server.sending", share);
    onShare(0);
    arrange();
    cancel.focus();
    try {
      const wanted = { ...options(), ...part(file), stabilize: level.value || null };
      const job = await submit(file, wanted, running.signal, onShare);
      keep(job.id);
      await watch();
    } catch (error) {
      fail(error);
    }
  }

  /** Store a job's id for the next visit; null for none. */
  function keep(job) {
    id = job;
    remember(STORED, id);
  }

  /** Follow the job until it ends. */
  async function watch() {
    running ??= new AbortController();
    tell("server.waiting", 0);
    arrange();
    const onChange = ({ state, progress }) =>
      tell(state === "waiting" ? "server.waiting" : "server.progress", progress.share ?? 0);
    const job = await follow(id, onChange, running.signal);
    if (job.state === "cancelled") throw new DOMException("", "AbortError");
    if (job.state !== "done") throw new Error(job.message ?? job.state);
    running = null;
    message.textContent = "";
    Object.assign(save, { href: resultOf(id), download: job.name });
    save.textContent = t("server.save", { name: job.name });
    arrange();
    announce(t("server.done", { name: job.name }));
  }

  function fail(error) {
    running = null;
    const unreachable = error instanceof Unreachable;
    if (!closed && !unreachable) keep(null); // otherwise fetched on the next visit
    if (closed) return;
    if (error.name === "AbortError") announce(t("server.cancelled"));
    else if (unreachable) message.textContent = t("server.unreachable");
    else message.textContent = t("server.failed", { reason: error.message });
    arrange();
  }

  /** Cancel the job, or delete its result. */
  async function discard() {
    const gone = id;
    const ended = running;
    message.textContent = "";
    try {
      if (gone) await remove(gone);
    } catch {
      message.textContent = t("server.unreachable");
      return arrange();
    }
    if (id === gone) keep(null);
    ended?.abort();
    arrange();
    if (!form.hidden) begin.focus();
  }

  let served = false;
  let closed = false;
  arrange();
  findServer().then(async (found) => {
    served = found && !closed;
    const job = served ? recall(STORED) : null;
    if (job && (await stateOf(job))) id = job;
    arrange();
    if (id) watch().catch(fail);
  });

  return {
    element: whole,
    choose(chosen) {
      file = chosen;
      arrange();
    },
    sending: () => Boolean(running && !id),
    close() {
      closed = true;
      running?.abort();
    },
  };
}
