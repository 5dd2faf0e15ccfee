// Read the size of JPEG, PNG and WebP files, and copy their EXIF data from one file to another.

import { crc32 } from "./zip.js";

const ORIENTATION = 0x0112;
const EXIF_FOLDER = 0x8769;
const WIDTH = 0xa002, HEIGHT = 0xa003;
const THUMBNAILS = [[0x0201, 0x0202], [0x0111, 0x0117]]; // tags of offset and length, JPEG and TIFF
const MOST_FOLDERS = 100;
const HEAD = [0x45, 0x78, 0x69, 0x66, 0, 0]; // "Exif"

/**
 * Read a picture's size, without orientation.
 * @param {Uint8Array} file the file or its beginning
 * @returns {{width: number, height: number}|null} null for other formats or damaged files
 */
export function sizeOf(file) {
  const readers = { jpeg: sizeOfJpeg, png: sizeOfPng, webp: sizeOfWebp };
  return within(() => readers[formatOf(file)]?.(file));
}

/**
 * Find the EXIF data of a picture.
 * @param {Uint8Array} file the file or its beginning
 * @returns {Uint8Array|null} starting at the TIFF header
 */
export function findExif(file) {
  const readers = { jpeg: inJpeg, png: inPng, webp: inWebp };
  const found = within(() => readers[formatOf(file)]?.(file));
  return found?.length ? found.slice() : null;
}

/** Call a reader; return null if it reads past the end of a damaged or truncated file. */
function within(read) {
  try {
    return read() ?? null;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** Return a part of a file; throw a RangeError if it is incomplete. */
function part(file, start, length) {
  if (start + length > file.length) throw new RangeError("cut off");
  return file.subarray(start, start + length);
}

/**
 * Update EXIF data for the cartoon: upright, of this size, without a thumbnail. Values are changed
 * in place, because maker notes contain absolute offsets.
 * @param {Uint8Array} exif @param {number} width @param {number} height
 * @returns {Uint8Array|null} null for damaged data
 */
export function updatedExif(exif, width, height) {
  return within(() => update(exif.slice(), width, height));
}

function update(data, width, height) {
  const tiff = opened(data);
  if (!tiff) return null;
  const first = tiff.long(4);
  tiff.set(first, ORIENTATION, 1);
  const folder = tiff.get(first, EXIF_FOLDER);
  if (folder) {
    tiff.set(folder, WIDTH, width);
    tiff.set(folder, HEIGHT, height);
  }
  const link = first + 2 + 12 * tiff.short(first);
  let next = tiff.long(link), end = data.length;
  tiff.setLong(link, 0);
  for (let count = 0; next && count < MOST_FOLDERS; count++) {
    for (const [places, lengths] of THUMBNAILS) {
      const start = tiff.get(next, places), length = tiff.get(next, lengths);
      if (!start || !length) continue;
      data.fill(0, start, start + length);
      if (start + length >= end) end = Math.max(8, start);
    }
    next = tiff.long(next + 2 + 12 * tiff.short(next));
  }
  return data.slice(0, end);
}

/** Return the orientation, 1 to 8; 1 means upright. @param {Uint8Array} exif */
export function orientationOf(exif) {
  const read = () => {
    const tiff = opened(exif);
    return tiff?.get(tiff.long(4), ORIENTATION);
  };
  return within(read) ?? 1;
}

/** Create minimal EXIF data with orientation 6, a rotation to the right. */
export function turnedExif() {
  const data = new Uint8Array(26);
  data.set([0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6]);
  return data;
}

/** @returns {Tiff|null} */
function opened(data) {
  const view = viewOf(data), order = view.getUint16(0);
  return [0x4949, 0x4d4d].includes(order) ? new Tiff(view, order === 0x4949) : null;
}

/** Reads and writes numbers of a TIFF structure in place. */
class Tiff {
  constructor(view, little) {
    Object.assign(this, { view, little });
  }

  short(place) {
    return this.view.getUint16(place, this.little);
  }

  long(place) {
    return this.view.getUint32(place, this.little);
  }

  setLong(place, value) {
    this.view.setUint32(place, value, this.little);
  }

  /** Return the offset of a tag's entry in a directory, or null. */
  find(folder, tag) {
    for (let index = 0; index < this.short(folder); index++) {
      const entry = folder + 2 + 12 * index;
      if (this.short(entry) === tag) return entry;
    }
    return null;
  }

  /** Return the value of a tag with a single integer, or null. */
  get(folder, tag) {
    const entry = this.find(folder, tag);
    if (entry === null || this.long(entry + 4) !== 1) return null;
    return this.short(entry + 2) === 3 ? this.short(entry + 8) : this.long(entry + 8);
  }

  set(folder, tag, value) {
    const entry = this.find(folder, tag);
    if (entry === null || this.long(entry + 4) !== 1) return;
    this.view.setUint16(entry + 2, 4, this.little); // a long fits in the space of a short
    this.setLong(entry + 8, value);
  }
}

/**
 * Insert EXIF data into a file without any.
 * @param {Uint8Array} file JPEG, PNG or WebP as written by a canvas
 * @param {Uint8Array} exif starting at the TIFF header
 * @returns {Uint8Array} the file unchanged if its format cannot hold the data
 */
export function insertExif(file, exif) {
  return { jpeg: intoJpeg, png: intoPng, webp: intoWebp }[formatOf(file)]?.(file, exif) ?? file;
}

/** @returns {"jpeg"|"png"|"webp"|null} format by signature */
export function formatOf(file) {
  if (file[0] === 0xff && file[1] === 0xd8) return "jpeg";
  if (text(file, 1, 4) === "PNG") return "png";
  return text(file, 0, 4) === "RIFF" && text(file, 8, 12) === "WEBP" ? "webp" : null;
}

function text(file, start, end) {
  return String.fromCharCode(...file.subarray(start, end));
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function joined(...parts) {
  const result = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    result.set(part, place);
    place += part.length;
  }
  return result;
}

// ---- JPEG: segments of a marker, a two-byte length that includes itself, and data

function* segmentsOf(file) {
  const view = viewOf(file);
  for (let place = 2; view.getUint8(place) === 0xff && file[place + 1] !== 0xda; ) {
    const length = view.getUint16(place + 2);
    yield { marker: file[place + 1], data: part(file, place + 4, length - 2) };
    place += 2 + length;
  }
}

function sizeOfJpeg(file) {
  for (const { marker, data } of segmentsOf(file)) {
    const begins = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (begins) return { width: viewOf(data).getUint16(3), height: viewOf(data).getUint16(1) };
  }
  return null;
}

function inJpeg(file) {
  for (const { marker, data } of segmentsOf(file)) {
    if (marker === 0xe1 && isHead(data)) return data.subarray(HEAD.length);
  }
  return null;
}

function isHead(data) {
  return HEAD.every((value, index) => data[index] === value);
}

function intoJpeg(file, exif) {
  const length = 2 + HEAD.length + exif.length;
  if (length > 0xffff) return file;
  const head = Uint8Array.of(0xff, 0xe1, length >> 8, length & 0xff, ...HEAD);
  return joined(file.subarray(0, 2), head, exif, file.subarray(2));
}

// ---- PNG: chunks of a length, a name, data, and a checksum of name and data

const PNG_HEADER = 8 + 25; // the signature and IHDR

function sizeOfPng(file) {
  return { width: viewOf(file).getUint32(16), height: viewOf(file).getUint32(20) };
}

function inPng(file) {
  const view = viewOf(file);
  for (let place = 8; place < file.length; ) {
    const length = view.getUint32(place);
    if (text(file, place + 4, place + 8) === "eXIf") return part(file, place + 8, length);
    place += 12 + length;
  }
  return null;
}

function intoPng(file, exif) {
  const chunk = new Uint8Array(12 + exif.length), view = viewOf(chunk);
  view.setUint32(0, exif.length);
  chunk.set([0x65, 0x58, 0x49, 0x66], 4); // "eXIf"
  chunk.set(exif, 8);
  view.setUint32(8 + exif.length, crc32(chunk.subarray(4, 8 + exif.length)));
  return joined(file.subarray(0, PNG_HEADER), chunk, file.subarray(PNG_HEADER));
}

// ---- WebP: chunks of a name, a length, and data padded to even length

function* chunksOf(file) {
  const view = viewOf(file);
  for (let place = 12; place + 8 <= file.length; ) {
    const length = view.getUint32(place + 4, true);
    const start = place + 8; // the data may be truncated
    const data = file.subarray(start, start + length);
    yield { name: text(file, place, start - 4), length, data };
    place += 8 + length + (length % 2);
  }
}

function inWebp(file) {
  for (const { name, data, length } of chunksOf(file)) {
    if (name !== "EXIF") continue;
    part(data, 0, length);
    return isHead(data) ? data.subarray(HEAD.length) : data;
  }
  return null;
}

function intoWebp(file, exif) {
  const chunks = [...chunksOf(file)];
  const [first] = chunks;
  if (first?.name === "VP8X") first.data = first.data.slice();
  else chunks.unshift({ name: "VP8X", data: extended(first) });
  chunks[0].data[0] |= 0x08; // EXIF flag
  chunks.push({ name: "EXIF", data: exif });
  const parts = chunks.flatMap(({ name, data }) => {
    const head = new Uint8Array(8);
    head.set([...name].map((c) => c.charCodeAt(0)));
    viewOf(head).setUint32(4, data.length, true);
    return [head, data, new Uint8Array(data.length % 2)];
  });
  const whole = joined(file.subarray(0, 12), ...parts);
  viewOf(whole).setUint32(4, whole.length - 8, true);
  return whole;
}

function sizeOfWebp(file) {
  const first = chunksOf(file).next().value;
  return first ? readWebpSize(first) : null;
}

function readWebpSize({ name, data }) {
  const view = viewOf(data);
  if (name === "VP8X") {
    const [width, height] = [3, 6].map((place) => (view.getUint32(place, true) >>> 8) + 1);
    return { width, height };
  }
  if (name === "VP8L") {
    const bits = view.getUint32(1, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
  }
  return { width: view.getUint16(6, true) & 0x3fff, height: view.getUint16(8, true) & 0x3fff };
}

/** Create a VP8X header for a file in the simple format. */
function extended(first) {
  const { width, height } = readWebpSize(first);
  const header = new Uint8Array(10), view = viewOf(header);
  const transparent = first.name === "VP8L" && (viewOf(first.data).getUint8(4) >> 4) & 1;
  header[0] = transparent ? 0x10 : 0;
  view.setUint32(4, width - 1, true);
  view.setUint16(7, (height - 1) & 0xffff, true);
  header[9] = (height - 1) >> 16;
  return header;
}
