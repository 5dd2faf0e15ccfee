/** The texts of the page, in the reader's language. */

const TAGS = { en: "en", zh: "zh-Hans" }; // file name -> <html lang>
const STORED = "toonbox.language";

let language = "en";
/** @type {Object<string, string>} */
let texts = {};

/** Return the language in use: "en" or "zh". */
export function currentLanguage() {
  return language;
}

/**
 * Choose the language: the one chosen before, or the first of the browser's that there is.
 * @returns {string} "en" or "zh"
 */
export function preferredLanguage() {
  const stored = read();
  const wanted = stored ? [stored] : navigator.languages ?? [navigator.language];
  for (const tag of wanted) {
    const code = tag.toLowerCase().split("-")[0];
    if (code in TAGS) return code;
  }
  return "en";
}

/**
 * Load a language and translate the document; listeners of "language" on it hear of it.
 * @param {string} code "en" or "zh"
 * @param {boolean} [remember] for the next visit
 */
export async function setLanguage(code, remember = false) {
  const answer = await fetch(new URL(`i18n/${code}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`i18n/${code}.json: ${answer.status}`);
  texts = await answer.json();
  language = code;
  if (remember) write(code);
  document.documentElement.lang = TAGS[code];
  translate(document.documentElement);
  document.dispatchEvent(new CustomEvent("language", { detail: code }));
}

/**
 * Return the text of a key, with {placeholders} filled in; the key itself if there is none.
 * @param {string} key
 * @param {Object<string, string|number>} [values]
 */
export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

/** Return the text of a key, or another one if the key is of a style that is not ours. */
export function textOr(key, other) {
  return texts[key] ?? other;
}

/**
 * Translate the elements that name a key: data-i18n for their text, data-i18n-label for what a
 * screen reader calls them, and their title if they have one.
 * @param {Element} root
 */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-i18n]")) {
    element.textContent = t(element.dataset.i18n);
  }
  for (const element of root.querySelectorAll("[data-i18n-label]")) {
    const label = t(element.dataset.i18nLabel);
    element.setAttribute("aria-label", label);
    if (element.title) element.title = label;
  }
}

function read() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // storage is switched off
  }
}

function write(code) {
  try {
    localStorage.setItem(STORED, code);
  } catch {
    // storage is switched off: the choice lasts as long as the page
  }
}
