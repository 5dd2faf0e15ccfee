// Guided upsampling, a port of toonbox/engine/guided.py: the network's small picture, carried over
// to the photo's full size. Source: He & Sun 2015, but for the offset.

/** @typedef {import("./resize.js").Pixels} Pixels */

const EPS = 1e-3;
const COUNT = 9; // pixels of a window: one to each side

/**
 * Bring a cartoon to the size of its photo, with the photo's edges. Each pixel becomes
 * slope * photo + offset, both fitted at the small size and enlarged bilinearly. A cartoon in black
 * and white is guided by the photo's grey, so that no colour comes back.
 * @param {Pixels} photo
 * @param {Pixels} small the photo reduced
 * @param {Pixels} cartoon what the network made of it
 * @param {number} strength from the photo, 0, to the cartoon, 1
 * @param {Pixels} out where to write, may be the photo; its transparency is left alone
 * @returns {Generator<number>} rows done, after each strip
 */
export function* upsample(photo, small, cartoon, strength, out) {
  const { width, height } = photo;
  const grey = isGrey(cartoon);
  const model = new Model(small, cartoon, width, grey);
  const rows = neighbours(height, small.height);
  const apply = grey ? applyGrey : applyColour;
  const strip = Math.max(1, Math.floor((1 << 19) / width));
  for (let y = 0; y < height; y++) {
    const upper = model.line(rows.first[y]), lower = model.line(rows.second[y]);
    apply(photo.data, out.data, y * width, width, upper, lower, rows.share[y], strength);
    if ((y + 1) % strip === 0 && y + 1 < height) yield y + 1;
  }
  yield height;
}

/** @param {Pixels} picture */
export function isGrey({ data }) {
  for (let i = 0; i < data.length; i += 4) {
    if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) return false;
  }
  return true;
}

/** What turns the photo into the cartoon, line by line of the small picture, from top to bottom. */
class Model {
  /**
   * @param {Pixels} small @param {Pixels} cartoon of one size
   * @param {number} width of the photo, to which lines are enlarged
   * @param {boolean} grey one channel instead of three
   */
  constructor(small, cartoon, width, grey) {
    Object.assign(this, { small, cartoon, channels: grey ? 1 : 3 });
    this.columns = neighbours(width, small.width);
    this.lines = new Recent(2, (row, line) => this.fill(row, line), () => ({
      slope: new Float32Array(width * this.channels),
      offset: new Float32Array(width * this.channels),
    }));
    const length = small.width * this.channels;
    const array = () => new Float32Array(length);
    this.guides = new Recent(3, (row, line) => this.readGuide(row, line), array);
    this.targets = new Recent(3, (row, line) => read(cartoon, row, line, this.channels), array);
    this.ratios = new Recent(3, (row, line) => this.fit(row, line), array);
    this.sums = Array.from({ length: 4 }, array);
    this.slope = array();
    this.offset = array();
  }

  /** Slope and offset of a row, enlarged sideways; the offset in levels. */
  line(row) {
    return this.lines.get(row);
  }

  readGuide(row, line) {
    if (this.channels === 3) return read(this.small, row, line, 3);
    const { data, width } = this.small;
    for (let x = 0, p = 4 * row * width; x < width; x++, p += 4) {
      line[x] = (data[p] + data[p + 1] + data[p + 2]) / 765;
    }
  }

  /** Covariance over variance in the windows around the pixels of a row. */
  fit(row, ratio) {
    const around = this.around(row);
    const [g0, g1, g2] = around.map((y) => this.guides.get(y));
    const [t0, t1, t2] = around.map((y) => this.targets.get(y));
    const [guides, targets, products, squares] = this.sums;
    for (let i = 0; i < guides.length; i++) {
      guides[i] = g0[i] + g1[i] + g2[i];
      targets[i] = t0[i] + t1[i] + t2[i];
      products[i] = g0[i] * t0[i] + g1[i] * t1[i] + g2[i] * t2[i];
      squares[i] = g0[i] * g0[i] + g1[i] * g1[i] + g2[i] * g2[i];
    }
    const step = this.channels, last = guides.length - step;
    for (let i = 0; i < guides.length; i++) {
      const left = i < step ? i : i - step, right = i >= last ? i : i + step;
      const guide = guides[left] + guides[i] + guides[right];
      const target = targets[left] + targets[i] + targets[right];
      const product = products[left] + products[i] + products[right];
      const square = squares[left] + squares[i] + squares[right];
      ratio[i] =
        (COUNT * product - guide * target) / (COUNT * square - guide * guide + COUNT * COUNT * EPS);
    }
  }

  fill(row, { slope, offset }) {
    const [a, b, c] = this.around(row).map((y) => this.ratios.get(y));
    const guide = this.guides.get(row), target = this.targets.get(row);
    const sums = this.sums[0], step = this.channels, last = sums.length - step;
    for (let i = 0; i < sums.length; i++) sums[i] = a[i] + b[i] + c[i];
    for (let i = 0; i < sums.length; i++) {
      const left = i < step ? i : i - step, right = i >= last ? i : i + step;
      const value = (sums[left] + sums[i] + sums[right]) / COUNT;
      this.slope[i] = value;
      this.offset[i] = (target[i] - value * guide[i]) * 255;
    }
    enlarge(this.slope, slope, this.columns, step);
    enlarge(this.offset, offset, this.columns, step);
  }

  /** The rows of a window: edges are repeated. */
  around(row) {
    return [Math.max(0, row - 1), row, Math.min(row + 1, this.small.height - 1)];
  }
}

/** Rows that were asked for last; a new one takes the memory of the one longest unused. */
class Recent {
  constructor(size, fill, make) {
    this.fill = fill;
    this.entries = Array.from({ length: size }, () => ({ row: -1, value: make() }));
  }

  get(row) {
    const { entries } = this;
    let index = entries.findIndex((entry) => entry.row === row);
    const known = index >= 0;
    if (!known) index = 0;
    const [entry] = entries.splice(index, 1);
    entries.push(entry);
    if (!known) {
      entry.row = row;
      this.fill(row, entry.value);
    }
    return entry.value;
  }
}

/** Read a row, in [0, 1]. */
function read({ data, width }, row, line, channels) {
  for (let x = 0, p = 4 * row * width, i = 0; x < width; x++, p += 4) {
    for (let c = 0; c < channels; c++) line[i++] = data[p + c] / 255;
  }
}

function enlarge(line, wide, { first, second, share }, channels) {
  for (let x = 0, i = 0; x < first.length; x++) {
    const left = channels * first[x], right = channels * second[x], part = share[x];
    for (let c = 0; c < channels; c++) {
      const value = line[left + c];
      wide[i++] = value + part * (line[right + c] - value);
    }
  }
}

/** Say between which two of `small` pixels each of `large` lies, and its share of the second. */
function neighbours(large, small) {
  const first = new Int32Array(large), second = new Int32Array(large);
  const share = new Float32Array(large);
  for (let i = 0; i < large; i++) {
    const place = Math.min(Math.max((i + 0.5) * (small / large) - 0.5, 0), small - 1);
    first[i] = Math.floor(place);
    second[i] = Math.min(first[i] + 1, small - 1);
    share[i] = place - first[i];
  }
  return { first, second, share };
}

// The two loops that touch every pixel of the photo: no calls, no memory, `start` and `width` in
// pixels. Writing to a Uint8ClampedArray rounds and clips.

function applyColour(photo, out, start, width, upper, lower, part, strength) {
  const a = upper.slope, b = lower.slope, c = upper.offset, d = lower.offset;
  for (let x = 0, i = 0, p = 4 * start; x < width; x++, i += 3, p += 4) {
    if (photo[p + 3] === 0) {
      copy(photo, out, p);
      continue;
    }
    const red = photo[p], green = photo[p + 1], blue = photo[p + 2];
    out[p] = (a[i] + part * (b[i] - a[i])) * red + c[i] + part * (d[i] - c[i]);
    out[p + 1] =
      (a[i + 1] + part * (b[i + 1] - a[i + 1])) * green + c[i + 1] + part * (d[i + 1] - c[i + 1]);
    out[p + 2] =
      (a[i + 2] + part * (b[i + 2] - a[i + 2])) * blue + c[i + 2] + part * (d[i + 2] - c[i + 2]);
    out[p + 3] = photo[p + 3];
    if (strength !== 1) mix(out, p, red, green, blue, strength);
  }
}

function applyGrey(photo, out, start, width, upper, lower, part, strength) {
  const a = upper.slope, b = lower.slope, c = upper.offset, d = lower.offset;
  for (let x = 0, p = 4 * start; x < width; x++, p += 4) {
    if (photo[p + 3] === 0) {
      copy(photo, out, p);
      continue;
    }
    const red = photo[p], green = photo[p + 1], blue = photo[p + 2];
    const guide = (red + green + blue) / 3;
    const value = (a[x] + part * (b[x] - a[x])) * guide + c[x] + part * (d[x] - c[x]);
    out[p] = out[p + 1] = out[p + 2] = value;
    out[p + 3] = photo[p + 3];
    if (strength !== 1) mix(out, p, red, green, blue, strength);
  }
}

/** Keep a fully transparent pixel as it is. */
function copy(photo, out, p) {
  out[p] = photo[p];
  out[p + 1] = photo[p + 1];
  out[p + 2] = photo[p + 2];
  out[p + 3] = photo[p + 3];
}

/** Mix the photo's values with the cartoon's, which are in `out`. */
function mix(out, p, red, green, blue, strength) {
  const rest = 1 - strength;
  out[p] = red * rest + out[p] * strength;
  out[p + 1] = green * rest + out[p + 1] * strength;
  out[p + 2] = blue * rest + out[p + 2] * strength;
}

/**
 * Finish a cartoon of the photo's own size: mix it with the photo, keep transparency.
 * @param {Pixels} photo @param {Pixels} cartoon @param {number} strength
 * @param {Pixels} out where to write, may be either
 */
export function blend(photo, cartoon, strength, out) {
  const from = photo.data, drawn = cartoon.data, to = out.data;
  for (let p = 0; p < from.length; p += 4) {
    if (from[p + 3] === 0) {
      copy(from, to, p);
      continue;
    }
    const red = from[p], green = from[p + 1], blue = from[p + 2], alpha = from[p + 3];
    to[p] = drawn[p];
    to[p + 1] = drawn[p + 1];
    to[p + 2] = drawn[p + 2];
    to[p + 3] = alpha;
    if (strength !== 1) mix(to, p, red, green, blue, strength);
  }
}
