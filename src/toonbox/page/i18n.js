/** Translations of the page. */

import { recall, remember } from "./dom.js";

const TAGS = { en: "en", zh: "zh-Hans" }; // file name -> <html lang>
const STORED = "toonbox.language";

let language = "en";
/** @type {Object<string, string>} */
let texts = {};

/** Return the current language, "en" or "zh". */
export function currentLanguage() {
  return language;
}

/**
 * Return the stored language, or the first supported one of the browser's.
 * @returns {string} "en" or "zh"
 */
export function preferredLanguage() {
  const stored = recall(STORED);
  const wanted = stored ? [stored] : navigator.languages ?? [navigator.language];
  for (const tag of wanted) {
    const code = tag.toLowerCase().split("-")[0];
    if (code in TAGS) return code;
  }
  return "en";
}

/**
 * Load a language, translate the document, and dispatch a "language" event on it.
 * @param {string} code "en" or "zh"
 * @param {boolean} [lasting] store it for the next visit
 */
export async function setLanguage(code, lasting = false) {
  const answer = await fetch(new URL(`i18n/${code}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`i18n/${code}.json: ${answer.status}`);
  texts = await answer.json();
  language = code;
  if (lasting) remember(STORED, code);
  document.documentElement.lang = TAGS[code];
  translate(document.documentElement);
  document.dispatchEvent(new CustomEvent("language", { detail: code }));
}

/**
 * Return the translation of a key with {placeholders} filled in, or the key if there is none.
 * @param {string} key
 * @param {Object<string, string|number>} [values]
 */
export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

/** Return the translation of a key, or another text if there is none, as for custom styles. */
export function textOr(key, other) {
  return texts[key] ?? other;
}

/**
 * Translate elements by attribute: data-i18n is the key of the text, data-i18n-label the key of
 * the aria-label and, if there is one, the title.
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
