/** Helpers for elements, downloads and storage. */

/**
 * Create an element.
 * @param {string} tag
 * @param {Object<string, *>} [properties] properties of the element, attributes if it has no such
 *   property, and event listeners if named on...
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && !name.includes("-")) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/**
 * Return a function that creates elements with translated text, which is updated when the
 * language changes.
 * @param {(key: string) => string} t
 * @returns {(tag: string, key: string, properties?: object) => HTMLElement}
 */
export function translated(t) {
  return (tag, key, properties = {}) => element(tag, { ...properties, "data-i18n": key }, t(key));
}

/** Show or hide an element. */
export function show(part, visible = true) {
  part.hidden = !visible;
}

/**
 * Download a blob.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const href = URL.createObjectURL(blob);
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // once the download has started
}

/** Return a stored string, or null if there is none or storage is disabled. */
export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // a browser setting, or a page from disk
  }
}

/** Store a string until the next visit unless storage is disabled; null removes it. */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // as in `recall`
  }
}

/** Format seconds as m:ss or h:mm:ss. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const two = (number) => String(number).padStart(2, "0");
  return (hours ? `${hours}:${two(minutes)}` : `${minutes}`) + `:${two(whole % 60)}`;
}
