/** What the sliders say, with undo and redo. */

export const KNOBS = ["surface", "structure", "texture"];
export const DEFAULTS = { strength: 1, surface: 1, structure: 1, texture: 1, resolution: null };

/**
 * @typedef {{style: string, strength: number, surface: number, structure: number,
 *   texture: number, resolution: number|"native"|null}} Values
 *   resolution: short side in pixels at which the network works; null for the style's own
 */

export class Settings {
  /** @param {string} style name of the one to begin with */
  constructor(style) {
    /** @type {Values} */
    this.values = { style, ...DEFAULTS };
    this.past = [this.values];
    this.future = [];
  }

  /** Change some values without a step: a slider on its way. */
  change(some) {
    this.values = { ...this.values, ...some };
  }

  /** Make what was changed a step that can be undone; say whether there was a change. */
  commit() {
    if (same(this.values, this.past.at(-1))) return false;
    this.past.push(this.values);
    this.future = [];
    return true;
  }

  get canUndo() {
    return this.past.length > 1 || !same(this.values, this.past.at(-1));
  }

  get canRedo() {
    return this.future.length > 0;
  }

  get isDefault() {
    return same(this.values, { ...DEFAULTS, style: this.values.style });
  }

  undo() {
    this.commit();
    if (this.past.length > 1) this.future.push(this.past.pop());
    this.values = this.past.at(-1);
  }

  redo() {
    if (this.future.length) this.past.push(this.future.pop());
    this.values = this.past.at(-1);
  }

  /** Return to the defaults, but for the style; a step like any other. */
  reset() {
    this.change(DEFAULTS);
    this.commit();
  }
}

/** Tell whether two sets of values are equal. */
export function same(a, b) {
  return Object.keys(a).every((name) => a[name] === b[name]);
}
