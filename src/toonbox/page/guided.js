// Guided upsampling of the network's output to the photo's size, a port of toonbox/engine/guided.py
// with its kernels in pixels.ts. Source: He & Sun 2015, with another offset.

import { bytes, divide, floats, integers, kernel } from "./pixels.js";

/** @typedef {import("./resize.js").Pixels} Pixels */

const STRIP = 1 << 19; // pixels of the photo in WebAssembly memory at once
const VECTOR = 16; // bytes; four 32-bit numbers

/**
 * Upsample a cartoon to the size of its photo, with the photo's edges. Each pixel becomes
 * slope * photo + offset, both fitted at the small size and enlarged bilinearly. A grey cartoon is
 * guided by the photo's grey values, so that it stays grey.
 * @param {Pixels} photo
 * @param {Pixels} small the reduced photo
 * @param {Pixels} cartoon the network's output for it
 * @param {number} strength from the photo, 0, to the cartoon, 1
 * @param {Pixels} out where to write, may be the photo; its alpha is unchanged
 * @returns {Generator<number>} finished rows, after each strip; do not use pixels.js in between
 */
export function* upsample(photo, small, cartoon, strength, out) {
  const { width, height } = photo;
  const tall = Math.min(height, Math.max(1, Math.floor(STRIP / width)));
  const model = new Model(small, cartoon, width, 4 * width * tall);
  const { line, steps, strip } = model.places;
  for (let top = 0; top < height; top += tall) {
    const bottom = Math.min(top + tall, height);
    const part = [4 * width * top, 4 * width * bottom];
    const pixels = bytes(strip, part[1] - part[0]);
    pixels.set(photo.data.subarray(...part));
    for (let y = top; y < bottom; y++) {
      const { first, second, share } = neighbours(y, height, small.height);
      kernel().applyRow(
        strip + 4 * width * (y - top), width, model.row(first), model.row(second), share,
        small.width, steps, line, model.grey, strength,
      );
    }
    out.data.set(pixels, part[0]);
    yield bottom;
  }
}

/** @param {Pixels} picture */
export function isGrey({ data }) {
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) return false;
  }
  return true;
}

/** Slopes and offsets from photo to cartoon, computed by row from top to bottom. */
class Model {
  #fitted = -1; // the last row of slopes
  #made = -1; // the last row of the model

  /**
   * @param {Pixels} small @param {Pixels} cartoon of one size
   * @param {number} wide width of the photo, in pixels
   * @param {number} strip size of a strip of the photo, in bytes
   */
  constructor(small, cartoon, wide, strip) {
    const { width, height } = small;
    Object.assign(this, { width, height, grey: isGrey(cartoon) });
    this.places = divide({
      small: small.data.length,
      cartoon: cartoon.data.length,
      slopes: 3 * VECTOR * width,
      columns: 4 * VECTOR * (width + 2),
      rows: 2 * 2 * VECTOR * (width + 1),
      line: 2 * VECTOR * (width + 1),
      steps: 8 * wide,
      strip,
    });
    bytes(this.places.small, small.data.length).set(small.data);
    bytes(this.places.cartoon, cartoon.data.length).set(cartoon.data);
    const places = integers(this.places.steps, 2 * wide);
    const shares = floats(this.places.steps, 2 * wide);
    for (let x = 0; x < wide; x++) {
      const { first, share } = neighbours(x, wide, width);
      places[2 * x] = 2 * VECTOR * first;
      shares[2 * x + 1] = share;
    }
  }

  /** Return the address of a row; the row after the next overwrites it. */
  row(y) {
    const { width, grey, places } = this;
    const at = (row) => places.rows + (row % 2) * 2 * VECTOR * (width + 1);
    while (this.#made < y) {
      const row = ++this.#made;
      const around = [row - 1, row, row + 1].map((each) => this.#slopes(each));
      const here = [places.small, places.cartoon].map((picture) => picture + 4 * width * row);
      kernel().modelRow(...around, ...here, width, grey, places.columns, at(row));
    }
    return at(y);
  }

  /** Return the address of a row of slopes; the third row after it overwrites it. */
  #slopes(y) {
    const { width, grey, places } = this;
    const at = (row) => places.slopes + (row % 3) * VECTOR * width;
    const within = (row) => Math.min(Math.max(row, 0), this.height - 1);
    while (this.#fitted < within(y)) {
      const row = ++this.#fitted;
      const [guides, targets] = [places.small, places.cartoon].map((picture) =>
        [row - 1, row, row + 1].map((each) => picture + 4 * width * within(each)));
      kernel().fitRow(...guides, ...targets, width, grey, places.columns, at(row));
    }
    return at(within(y));
  }
}

/** Return the two of `small` pixels between which one of `large` lies, and the second's share. */
function neighbours(index, large, small) {
  const place = Math.min(Math.max((index + 0.5) * (small / large) - 0.5, 0), small - 1);
  const first = Math.floor(place);
  return { first, second: Math.min(first + 1, small - 1), share: place - first };
}

/**
 * Blend a cartoon with a photo of the same size, and preserve the photo's alpha.
 * @param {Pixels} photo @param {Pixels} cartoon @param {number} strength
 * @param {Pixels} out where to write, may be either
 */
export function blend(photo, cartoon, strength, out) {
  const from = photo.data, drawn = cartoon.data, to = out.data, rest = 1 - strength;
  for (let p = 0; p < from.length; p += 4) {
    const share = from[p + 3] === 0 ? 0 : strength, kept = share === 0 ? 1 : rest;
    to[p] = from[p] * kept + drawn[p] * share;
    to[p + 1] = from[p + 1] * kept + drawn[p + 1] * share;
    to[p + 2] = from[p + 2] * kept + drawn[p + 2] * share;
    to[p + 3] = from[p + 3];
  }
}
