// Kernels that reduce and upsample photos by row, in AssemblyScript, which vendor.js compiles to
// WebAssembly with SIMD. guided.js and resize.js manage rows and memory. A vector of four numbers
// is a pixel: red, green, blue and alpha. Addresses are in bytes.

// ---- Guided upsampling, see guided.js

const COUNT: f32 = 9; // pixels in a 3x3 window
const EPS: f32 = 1e-3 * 255 * 255; // squared levels

/**
 * Fit cartoon = slope * photo + offset in the window around each pixel of a row; write the slopes.
 * @param g0,g1,g2 rows of the reduced photo: above, current and below
 * @param t0,t1,t2 rows of the cartoon
 * @param columns scratch memory for 4 * (width + 2) vectors
 */
export function fitRow(
  g0: usize, g1: usize, g2: usize, t0: usize, t1: usize, t2: usize,
  width: i32, grey: bool, columns: usize, slopes: usize,
): void {
  for (let x = 0; x < width; x++) {
    const at = <usize>x << 2, to = columns + (<usize>(x + 1) << 6);
    const a = guide(g0 + at, grey), b = guide(g1 + at, grey), c = guide(g2 + at, grey);
    const d = pixel(t0 + at), e = pixel(t1 + at), f = pixel(t2 + at);
    v128.store(to, f32x4.add(f32x4.add(a, b), c), 0);
    v128.store(to, f32x4.add(f32x4.add(d, e), f), 16);
    v128.store(to, dot(a, d, b, e, c, f), 32);
    v128.store(to, dot(a, a, b, b, c, c), 48);
  }
  repeatEdges(columns, width, 64);
  for (let x = 0; x < width; x++) {
    const at = columns + (<usize>x << 6);
    const guides = acrossThree(at, 64), targets = acrossThree(at + 16, 64);
    const products = acrossThree(at + 32, 64), squares = acrossThree(at + 48, 64);
    const count = f32x4.splat(COUNT);
    const covariance = f32x4.sub(f32x4.mul(count, products), f32x4.mul(guides, targets));
    const variance = f32x4.sub(f32x4.mul(count, squares), f32x4.mul(guides, guides));
    const least = f32x4.splat(COUNT * COUNT * EPS);
    v128.store(slopes + (<usize>x << 4), f32x4.div(covariance, f32x4.add(variance, least)));
  }
}

/**
 * Average the slopes of three rows over the windows; write slope and offset of each pixel of the
 * middle row, the last one twice.
 * @param columns scratch memory for width + 2 vectors
 * @param model 2 * (width + 1) vectors: slope, offset, slope, ...
 */
export function modelRow(
  s0: usize, s1: usize, s2: usize, photo: usize, cartoon: usize,
  width: i32, grey: bool, columns: usize, model: usize,
): void {
  for (let x = 0; x < width; x++) {
    const at = <usize>x << 4;
    const sum = f32x4.add(f32x4.add(v128.load(s0 + at), v128.load(s1 + at)), v128.load(s2 + at));
    v128.store(columns + at + 16, sum);
  }
  repeatEdges(columns, width, 16);
  for (let x = 0; x < width; x++) {
    const at = <usize>x << 2, to = model + (<usize>x << 5);
    const sum = acrossThree(columns + (<usize>x << 4), 16);
    const slope = f32x4.mul(sum, f32x4.splat(1 / COUNT));
    v128.store(to, slope);
    const fitted = f32x4.mul(slope, guide(photo + at, grey));
    v128.store(to, f32x4.sub(pixel(cartoon + at), fitted), 16);
  }
  const end = model + (<usize>width << 5);
  v128.store(end, v128.load(end - 32));
  v128.store(end, v128.load(end - 16), 16);
}

/**
 * Overwrite a row of the photo with the cartoon, except fully transparent pixels.
 * @param width width of the photo @param narrow width of the model
 * @param upper,lower rows of the model around this row @param part weight of lower
 * @param steps for each column of the photo, its offset in `line` in bytes (u32) and the weight of
 *   the pixel to the right (f32)
 * @param line scratch memory for 2 * (narrow + 1) vectors
 */
export function applyRow(
  photo: usize, width: i32, upper: usize, lower: usize, part: f32, narrow: i32,
  steps: usize, line: usize, grey: bool, strength: f32,
): void {
  const down = f32x4.splat(part);
  const size = <usize>(narrow + 1) << 5;
  for (let at: usize = 0; at < size; at += 16) {
    v128.store(line + at, between(v128.load(upper + at), v128.load(lower + at), down));
  }
  const full = f32x4.splat(strength), rest = f32x4.splat(1 - strength);
  for (let x = 0; x < width; x++, photo += 4, steps += 8) {
    const before = load<u32>(photo);
    if (!(before >>> 24)) continue;
    const at = line + load<u32>(steps), share = v128.load32_splat(steps, 4);
    const slope = between(v128.load(at), v128.load(at, 32), share);
    const offset = between(v128.load(at, 16), v128.load(at, 48), share);
    let value = f32x4.add(f32x4.mul(slope, guide(photo, grey)), offset);
    if (strength != 1) {
      const levels = f32x4.nearest(f32x4.min(f32x4.max(value, f32x4.splat(0)), f32x4.splat(255)));
      value = f32x4.add(f32x4.mul(pixel(photo), rest), f32x4.mul(levels, full));
    }
    const whole = i32x4.trunc_sat_f32x4_s(f32x4.nearest(value));
    store<u32>(photo, (bytes(whole) & 0xffffff) | (before & 0xff000000));
  }
}

/** Return the guide: a pixel, or its grey value for grey cartoons. */
@inline
function guide(at: usize, grey: bool): v128 {
  if (!grey) return pixel(at);
  const sum = <u32>load<u8>(at) + load<u8>(at, 1) + load<u8>(at, 2);
  return f32x4.splat(<f32>sum / 3);
}

@inline
function pixel(at: usize): v128 {
  return f32x4.convert_i32x4_u(levels(at));
}

/** a * b + c * d + e * f */
@inline
function dot(a: v128, b: v128, c: v128, d: v128, e: v128, f: v128): v128 {
  return f32x4.add(f32x4.add(f32x4.mul(a, b), f32x4.mul(c, d)), f32x4.mul(e, f));
}

/** a + share * (b - a) */
@inline
function between(a: v128, b: v128, share: v128): v128 {
  return f32x4.add(a, f32x4.mul(share, f32x4.sub(b, a)));
}

/** Add three vectors at a distance of `apart` bytes. */
@inline
function acrossThree(at: usize, apart: usize): v128 {
  const sum = f32x4.add(v128.load(at), v128.load(at + apart));
  return f32x4.add(sum, v128.load(at + 2 * apart));
}

/** Repeat the first and last of `width` columns of `size` bytes. */
function repeatEdges(columns: usize, width: i32, size: usize): void {
  const last = columns + <usize>width * size;
  memory.copy(columns, columns + size, size);
  memory.copy(last + size, last, size);
}

// ---- Reducing, see resize.js

/**
 * Average boxes of `across` x `rows` pixels; the last one may be narrower.
 * @param from first row @param width width of the rows, in pixels @param to where to write
 */
export function boxRow(from: usize, width: i32, across: i32, rows: i32, to: usize): void {
  for (let left = 0; left < width; left += across, to += 4) {
    const wide = min(across, width - left), count = wide * rows;
    let sum = i32x4.splat(count >> 1);
    for (let y = 0; y < rows; y++) {
      let at = from + (<usize>(y * width + left) << 2);
      for (let x = 0; x < wide; x++, at += 4) sum = i32x4.add(sum, levels(at));
    }
    // As Pillow, multiply by a rounded 2 ** 24 / count, to match the last bit.
    const factor = <u32><f32>(4294967296.0 / <f64>(256 * count));
    const mean = i32x4.shr_u(i32x4.mul(sum, i32x4.splat(factor)), 24);
    store<u32>(to, bytes(mean) | 0xff000000);
  }
}

const BITS = 22; // fractional bits of a weight, as in Pillow's Resample.c

/**
 * Resize a row horizontally.
 * @param first,counts for each output pixel, its first input pixel and their number
 * @param weights `most` weights for each output pixel
 */
export function resizeAcross(
  from: usize, to: usize, width: i32, first: usize, counts: usize, weights: usize, most: i32,
): void {
  for (let x = 0; x < width; x++, to += 4, weights += <usize>most << 2) {
    let at = from + (load<u32>(first + (<usize>x << 2)) << 2);
    const end = weights + (load<u32>(counts + (<usize>x << 2)) << 2);
    let sum = i32x4.splat(1 << (BITS - 1));
    for (let weight = weights; weight < end; weight += 4, at += 4) {
      sum = i32x4.add(sum, i32x4.mul(v128.load32_splat(weight), levels(at)));
    }
    store<u32>(to, bytes(i32x4.shr_s(sum, BITS)) | 0xff000000);
  }
}

/** Write the weighted sum of `count` rows. */
export function resizeDown(from: usize, to: usize, width: i32, count: i32, weights: usize): void {
  const stride = <usize>width << 2, end = weights + (<usize>count << 2);
  for (let x = 0; x < width; x++, from += 4, to += 4) {
    let sum = i32x4.splat(1 << (BITS - 1));
    let at = from;
    for (let weight = weights; weight < end; weight += 4, at += stride) {
      sum = i32x4.add(sum, i32x4.mul(v128.load32_splat(weight), levels(at)));
    }
    store<u32>(to, bytes(i32x4.shr_s(sum, BITS)) | 0xff000000);
  }
}

// ---- Both

/** Load four bytes as integers. */
@inline
function levels(at: usize): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(at)));
}

/** Convert four integers to bytes, clipped to [0, 255]. */
@inline
function bytes(whole: v128): u32 {
  const halves = i16x8.narrow_i32x4_s(whole, whole);
  return i32x4.extract_lane(i8x16.narrow_i16x8_u(halves, halves), 0);
}
