/** Elements, made without markup in strings. */

/**
 * Make an element.
 * @param {string} tag
 * @param {Object<string, *>} [properties] properties of the element; names with a dash, `for`,
 *   `role` and `class` are attributes; functions named on... listen.
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
 * Return a function that makes elements with a text of the page's languages, which follow when
 * the language changes.
 * @param {(key: string) => string} t
 * @returns {(tag: string, key: string, properties?: object) => HTMLElement}
 */
export function translated(t) {
  return (tag, key, properties = {}) => element(tag, { ...properties, "data-i18n": key }, t(key));
}

/** Show an element or hide it from everyone. */
export function show(part, visible = true) {
  part.hidden = !visible;
}

/**
 * Save a blob as a file, as if a link had been followed.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const href = URL.createObjectURL(blob);
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // the download has begun by then
}

/** Write seconds as m:ss, or h:mm:ss. */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const two = (number) => String(number).padStart(2, "0");
  return (hours ? `${hours}:${two(minutes)}` : `${minutes}`) + `:${two(whole % 60)}`;
}
