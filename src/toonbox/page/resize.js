// Resize a photo exactly as Pillow's `resize(size, filter, reducing_gap=1.5)`, which `_resized` in
// toonbox/engine/style.py uses: by an integer factor, then horizontally, then vertically. The
// kernels are in pixels.ts. Sizes, too, are chosen as there.

import { bytes, divide, integers, kernel } from "./pixels.js";

/** @typedef {{data: Uint8ClampedArray, width: number, height: number}} Pixels  RGBA, 8 bits */

const BITS = 22; // fractional bits of a weight, as in Pillow's Resample.c
const GAP = 1.5;
export const HAMMING = {
  support: 1,
  weight: (distance) => Math.abs(distance) >= 1 ? 0
    : sinc(distance) * (Math.fround(0.54) + Math.fround(0.46) * Math.cos(Math.PI * distance)),
};
export const LANCZOS = {
  support: 3,
  weight: (distance) => Math.abs(distance) >= 3 ? 0 : sinc(distance) * sinc(distance / 3),
};
const WORTH_ENLARGING = 1.25;
const DETAIL_STEP = 40 * 256;
const STRIP = 1 << 21; // approximate bytes of the photo in WebAssembly memory at once

/**
 * Return the size at which the network works.
 * @param {number} width @param {number} height of the photo, in pixels
 * @param {number|"native"} wanted short side
 * @returns {[number, number]} width and height
 */
export function workingSize(width, height, wanted) {
  if (wanted === "native" || wanted >= Math.min(width, height)) return [width, height];
  return scaled(width, height, wanted);
}

/**
 * Return the size at which the network works on a photo full of detail; a small one is enlarged.
 * @param {number} width @param {number} height of the photo, in pixels
 * @param {{resolution: number, detail: number}} style
 * @returns {[number, number]} width and height
 */
export function largestSize(width, height, { resolution, detail }) {
  if (!detail) return workingSize(width, height, resolution);
  const short = Math.min(width, height);
  const wanted = Math.min(detail, Math.floor((short * detail) / resolution));
  return scaled(width, height, short < wanted && wanted < WORTH_ENLARGING * short ? short : wanted);
}

function scaled(width, height, wanted) {
  const short = Math.min(width, height);
  const side = (large) => Math.max(1, halfToEven((large * wanted) / short));
  return [side(width), side(height)];
}

/** Return whether brightness changes from pixel to pixel in more than a tenth of a photo. */
export function isDetailed({ data, width, height }) {
  const grey = (p) => 77 * data[p] + 150 * data[p + 1] + 29 * data[p + 2]; // in 256ths
  let count = 0, all = 0;
  for (let y = 1; y < height; y += 4) { // each fourth pair of rows tells enough
    for (let x = 1, p = 4 * (y * width + 1); x < width; x++, p += 4, all++) {
      const here = grey(p);
      const step = Math.abs(here - grey(p - 4)) + Math.abs(here - grey(p - 4 * width));
      if (step > DETAIL_STEP) count++;
    }
  }
  return 10 * count > all;
}

/** Round half to even, as Python does. */
function halfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

/**
 * Resize a photo; alpha is ignored, and the result is opaque.
 * @param {Pixels} photo @param {number} width @param {number} height of the result
 * @param {{support: number, weight: (distance: number) => number}} [filter]
 * @returns {Pixels}
 */
export function resize(photo, width, height, filter = HAMMING) {
  const across = Math.max(1, Math.floor(photo.width / width / GAP));
  const down = Math.max(1, Math.floor(photo.height / height / GAP));
  const wide = Math.ceil(photo.width / across), tall = Math.ceil(photo.height / down);
  const columns = weightsFor(wide, photo.width / across, width, filter);
  const rows = weightsFor(tall, photo.height / down, height, filter);
  const line = 4 * photo.width, lines = down * Math.max(1, Math.floor(STRIP / (line * down)));
  const places = divide({
    strip: line * lines,
    boxes: 4 * wide,
    narrow: 4 * width * tall,
    result: 4 * width * height,
    first: 4 * width,
    counts: 4 * width,
    columns: 4 * columns.weights.length,
    rows: 4 * rows.weights.length,
  });
  integers(places.first, width).set(columns.first);
  integers(places.counts, width).set(columns.counts);
  integers(places.columns, columns.weights.length).set(columns.weights);
  integers(places.rows, rows.weights.length).set(rows.weights);

  for (let top = 0; top < photo.height; top += lines) {
    const part = photo.data.subarray(line * top, line * (top + lines));
    bytes(places.strip, part.length).set(part);
    for (let y = top; y < Math.min(top + lines, photo.height); y += down) {
      let from = places.strip + line * (y - top);
      if (across * down > 1) {
        const high = Math.min(down, photo.height - y);
        kernel().boxRow(from, photo.width, across, high, places.boxes);
        from = places.boxes;
      }
      kernel().resizeAcross(
        from, places.narrow + (4 * width * y) / down, width,
        places.first, places.counts, places.columns, columns.most,
      );
    }
  }
  for (let y = 0; y < height; y++) {
    kernel().resizeDown(
      places.narrow + 4 * width * rows.first[y], places.result + 4 * width * y, width,
      rows.counts[y], places.rows + 4 * rows.most * y,
    );
  }
  return { data: bytes(places.result, 4 * width * height).slice(), width, height };
}

/** Return weights of an antialiased filter, `most` for each output pixel. */
function weightsFor(size, kept, wanted, filter) {
  const scale = Math.fround(kept) / wanted;
  const filterScale = Math.max(1, scale);
  const support = filter.support * filterScale;
  const most = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(wanted), counts = new Int32Array(wanted);
  const weights = new Int32Array(wanted * most);
  for (let i = 0; i < wanted; i++) {
    const centre = (i + 0.5) * scale;
    first[i] = Math.max(0, Math.trunc(centre - support + 0.5));
    counts[i] = Math.min(size, Math.trunc(centre + support + 0.5)) - first[i];
    const exact = [];
    let total = 0;
    for (let k = 0; k < counts[i]; k++) {
      exact.push(filter.weight((k + first[i] - centre + 0.5) * (1 / filterScale)));
      total += exact[k];
    }
    for (let k = 0; k < counts[i]; k++) {
      const share = total === 0 ? exact[k] : exact[k] / total;
      weights[most * i + k] = Math.trunc(share * 2 ** BITS + (share < 0 ? -0.5 : 0.5));
    }
  }
  return { first, counts, weights, most };
}

function sinc(distance) {
  const x = Math.PI * distance;
  return x === 0 ? 1 : Math.sin(x) / x;
}
