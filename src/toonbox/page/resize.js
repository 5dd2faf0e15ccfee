// Reduces a photo exactly as Pillow's `resize(size, BICUBIC, reducing_gap=1.5)` does, and with it
// `_reduced` of toonbox/engine/style.py: by whole numbers first, then sideways, then downwards.

/** @typedef {{data: Uint8ClampedArray, width: number, height: number}} Pixels  RGBA, 8 bits */

const BITS = 22; // of the fraction of a weight, as in Pillow's Resample.c
const GAP = 1.5;

/**
 * Give the size at which the network works.
 * @param {number} width @param {number} height of the photo, in pixels
 * @param {number|"native"} wanted short side
 * @returns {[number, number]} width and height
 */
export function workingSize(width, height, wanted) {
  const short = Math.min(width, height);
  if (wanted === "native" || wanted >= short) return [width, height];
  const scaled = (side) => Math.max(1, halfToEven((side * wanted) / short));
  return [scaled(width), scaled(height)];
}

/** Round as Python does. */
function halfToEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

/**
 * Reduce a photo; transparency is not looked at, and opaque in the result.
 * @param {Pixels} photo @param {number} width @param {number} height of the result
 * @returns {Pixels}
 */
export function reduce(photo, width, height) {
  const across = Math.max(1, Math.floor(photo.width / width / GAP));
  const down = Math.max(1, Math.floor(photo.height / height / GAP));
  const reduced = across * down === 1 ? photo : boxReduce(photo, across, down);
  const narrow = resizeAcross(reduced, width, photo.width / across);
  return resizeDown(narrow, height, photo.height / down);
}

/** Average boxes of `across` x `down` pixels; those at the right and lower edges may be smaller. */
function boxReduce({ data, width, height }, across, down) {
  const small = empty(Math.ceil(width / across), Math.ceil(height / down));
  const out = small.data;
  const sums = new Uint32Array(3 * small.width);
  for (let row = 0, to = 0; row < small.height; row++) {
    sums.fill(0);
    const top = row * down, bottom = Math.min(top + down, height);
    for (let y = top; y < bottom; y++) {
      let from = 4 * y * width;
      for (let x = 0, sum = 0; x < width; sum += 3) {
        let red = 0, green = 0, blue = 0;
        for (const end = Math.min(x + across, width); x < end; x++, from += 4) {
          red += data[from];
          green += data[from + 1];
          blue += data[from + 2];
        }
        sums[sum] += red;
        sums[sum + 1] += green;
        sums[sum + 2] += blue;
      }
    }
    for (let x = 0, sum = 0; x < small.width; x++, to += 4, sum += 3) {
      const count = (bottom - top) * Math.min(across, width - x * across);
      // Pillow multiplies by a rounded 2 ** 24 / count; so the last bit is the same.
      const factor = Math.floor(Math.fround(2 ** 32 / (256 * count)));
      const half = count >> 1;
      for (let c = 0; c < 3; c++) {
        out[to + c] = Math.floor(((sums[sum + c] + half) * factor) / 2 ** 24);
      }
    }
  }
  return small;
}

/** Bring the first `kept` columns, which may end within a pixel, to `width`. */
function resizeAcross(image, width, kept) {
  if (width === image.width && Math.fround(kept) === width) return image;
  const { first, counts, weights, most } = weightsFor(image.width, kept, width);
  const result = empty(width, image.height);
  const from = image.data, to = result.data;
  for (let y = 0, at = 0; y < image.height; y++) {
    const line = 4 * y * image.width;
    for (let x = 0; x < width; x++, at += 4) {
      let red = 1 << (BITS - 1), green = red, blue = red;
      const end = most * x + counts[x];
      for (let k = most * x, p = line + 4 * first[x]; k < end; k++, p += 4) {
        const weight = weights[k];
        red += weight * from[p];
        green += weight * from[p + 1];
        blue += weight * from[p + 2];
      }
      to[at] = red >> BITS;
      to[at + 1] = green >> BITS;
      to[at + 2] = blue >> BITS;
    }
  }
  return result;
}

/** Bring the first `kept` rows to `height`. */
function resizeDown(image, height, kept) {
  if (height === image.height && Math.fround(kept) === height) return image;
  const { first, counts, weights, most } = weightsFor(image.height, kept, height);
  const result = empty(image.width, height);
  const from = image.data, to = result.data;
  const stride = 4 * image.width;
  const sums = new Int32Array(stride);
  for (let y = 0, at = 0; y < height; y++, at += stride) {
    sums.fill(1 << (BITS - 1));
    for (let k = 0; k < counts[y]; k++) {
      const weight = weights[most * y + k];
      const line = (first[y] + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] += weight * from[line + i];
    }
    for (let i = 0; i < stride; i++) to[at + i] = sums[i] >> BITS;
  }
  return result;
}

/** Weights of an antialiased bicubic filter with a = -0.5: `most` places for each output pixel. */
function weightsFor(size, kept, wanted) {
  const scale = Math.fround(kept) / wanted;
  const filterScale = Math.max(1, scale);
  const support = 2 * filterScale;
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
      exact.push(bicubic((k + first[i] - centre + 0.5) * (1 / filterScale)));
      total += exact[k];
    }
    for (let k = 0; k < counts[i]; k++) {
      const share = total === 0 ? exact[k] : exact[k] / total;
      weights[most * i + k] = Math.trunc(share * 2 ** BITS + (share < 0 ? -0.5 : 0.5));
    }
  }
  return { first, counts, weights, most };
}

function bicubic(distance) {
  const a = -0.5, x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** @returns {Pixels} opaque black */
function empty(width, height) {
  const data = new Uint8ClampedArray(4 * width * height);
  new Uint32Array(data.buffer).fill(0xff000000);
  return { data, width, height };
}
