// Read and write picture files.
//
// Canvases are 8-bit sRGB: the browser converts other colour profiles to sRGB and 16 bits to 8.
// XMP, IPTC and the profile are lost; EXIF is preserved in JPEG, PNG and WebP. The command line
// preserves everything.

import {
  findExif, formatOf, insertExif, orientationOf, sizeOf, turnedExif, updatedExif,
} from "./exif.js";

const MAX_PIXELS = 100e6;
const LOOKED_AT = 1 << 20; // bytes that contain the EXIF data of most files

/** File suffixes by MIME type, the default first. */
const SUFFIXES = {
  "image/jpeg": ["jpg", "jpeg", "jpe", "jfif"],
  "image/png": ["png"],
  "image/webp": ["webp"],
};

/**
 * Read a picture, upright.
 * @param {File|Blob} file
 * @returns {Promise<{bitmap: ImageBitmap, width: number, height: number, name: string,
 *   type: string, exif: Uint8Array|null}>}
 * @throws {Error} with `code` "not-a-picture" or "too-large"
 */
export async function readPicture(file) {
  const name = file.name ?? "picture";
  const begin = new Uint8Array(await file.slice(0, LOOKED_AT).arrayBuffer());
  const size = sizeOf(begin); // checked before decoding takes memory
  if (size && size.width * size.height > MAX_PIXELS) throw tooLarge(name, size);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch (error) {
    // Browsers do not distinguish damaged files from a lack of memory.
    if (size && size.width * size.height > MAX_PIXELS / 4) throw tooLarge(name, size, error);
    throw failure("not-a-picture", `${name} is not a picture that this browser can read`, error);
  }
  if (bitmap.width * bitmap.height > MAX_PIXELS) {
    bitmap.close();
    throw tooLarge(name, bitmap);
  }
  const exif = await exifOf(file, begin);
  const orientation = exif ? orientationOf(exif) : 1;
  if (orientation > 1 && !(await turns(formatOf(begin)))) bitmap = turned(bitmap, orientation);
  const { width, height } = bitmap;
  return { bitmap, width, height, name, type: file.type, exif };
}

/**
 * Write a picture.
 * @param {ImageData} imageData
 * @param {{type?: "image/jpeg"|"image/png"|"image/webp", quality?: number,
 *   exif?: Uint8Array|null}} [how] quality from 0 to 1; EXIF data from `readPicture`
 * @returns {Promise<Blob>} of another type if the browser cannot write this one
 * @throws {Error} with `code` "too-large"
 */
export async function writePicture(
  imageData, { type = "image/jpeg", quality = 0.95, exif = null } = {},
) {
  const { width, height } = imageData;
  let blob;
  try {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.putImageData(imageData, 0, 0);
    if (type === "image/jpeg") { // without transparency: on white, as the command line does
      Object.assign(context, { globalCompositeOperation: "destination-over", fillStyle: "#fff" });
      context.fillRect(0, 0, width, height);
    }
    blob = await canvas.convertToBlob({ type, quality });
  } catch (error) {
    throw tooLarge("the cartoon", imageData, error);
  }
  const kept = exif && updatedExif(exif, width, height);
  if (!kept) return blob;
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return new Blob([insertExif(bytes, kept)], { type: blob.type });
}

/**
 * Name a cartoon as the command line does: photo.jpg becomes photo.toon.jpg.
 * @param {string} name of the photo
 * @param {string} type of the cartoon
 * @returns {string}
 */
export function cartoonName(name, type) {
  const dot = name.lastIndexOf(".");
  const [stem, suffix] = dot > 0 ? [name.slice(0, dot), name.slice(dot + 1)] : [name, ""];
  const fitting = SUFFIXES[type] ?? [type.split("/")[1]];
  return `${stem}.toon.${fitting.includes(suffix.toLowerCase()) ? suffix : fitting[0]}`;
}

/** Find EXIF data at the beginning or, in PNG and WebP, anywhere. */
async function exifOf(file, begin) {
  const found = findExif(begin);
  const atTheEnd = begin.length < file.size && begin[0] !== 0xff;
  return found || !atTheEnd ? found : findExif(new Uint8Array(await file.arrayBuffer()));
}

/** Whether this browser applies EXIF orientation, by format. Chromium does not for WebP. */
const turning = {};

function turns(format) {
  turning[format] ??= (async () => {
    const canvas = new OffscreenCanvas(2, 1);
    canvas.getContext("2d");
    const blob = await canvas.convertToBlob({ type: `image/${format}` });
    const file = insertExif(new Uint8Array(await blob.arrayBuffer()), turnedExif());
    const bitmap = await createImageBitmap(new Blob([file], { type: blob.type }));
    return bitmap.height === 2;
  })();
  return turning[format];
}

/** Transforms of (x, y) by EXIF orientation: a matrix, and offsets in widths and heights. */
const TURNS = {
  2: [-1, 0, 0, 1, 1, 0], 3: [-1, 0, 0, -1, 1, 1], 4: [1, 0, 0, -1, 0, 1], 5: [0, 1, 1, 0, 0, 0],
  6: [0, 1, -1, 0, 1, 0], 7: [0, -1, -1, 0, 1, 1], 8: [0, -1, 1, 0, 0, 1],
};

function turned(bitmap, orientation) {
  const turn = TURNS[orientation];
  if (!turn) return bitmap;
  const [a, b, c, d, right, down] = turn;
  const width = a ? bitmap.width : bitmap.height, height = a ? bitmap.height : bitmap.width;
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  context.setTransform(a, b, c, d, right * width, down * height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}

function failure(code, message, cause) {
  return Object.assign(new Error(message, { cause }), { code });
}

function tooLarge(name, { width, height }, cause) {
  const size = `${width} x ${height} = ${Math.round((width * height) / 1e6)} megapixels`;
  return failure("too-large", `${name} is too large for this browser: ${size}`, cause);
}
