/** The settings, with undo and redo. */

export const KNOBS = ["surface", "structure", "texture"];
export const DEFAULTS = { strength: 1, surface: 1, structure: 1, texture: 1, resolution: null };

/**
 * @typedef {{style: string, strength: number, surface: number, structure: number,
 *   texture: number, resolution: number|"native"|null}} Values
 *   resolution: short side in pixels at which the network works; null for the style's default
 */

export class Settings {
  /** @param {string} style name of the initial style */
  constructor(style) {
    /** @type {Values} */
    this.values = { style, ...DEFAULTS };
    this.past = [this.values];
    this.future = [];
  }

  /** Change values without an undo step, as while a slider moves. */
  change(some) {
    this.values = { ...this.values, ...some };
  }

  /** Add an undo step if values have changed; return whether they have. */
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

  /** Reset everything except the style, as an undo step. */
  reset() {
    this.change(DEFAULTS);
    this.commit();
  }
}

/** Return whether two sets of values are equal. */
export function same(a, b) {
  return Object.keys(a).every((name) => a[name] === b[name]);
}
