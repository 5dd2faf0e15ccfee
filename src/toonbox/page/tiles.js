// Run the network on pictures of any size, in tiles if necessary; a port of `_run` and `_run_tile`
// in toonbox/engine/style.py.

/** @typedef {import("./resize.js").Pixels} Pixels */
/**
 * @typedef {(photo: Float32Array, width: number, height: number) => Promise<Float32Array>} Network
 *   maps (3, height, width) in [-1, 1] to the same
 */

const SIGNED = Float32Array.from({ length: 256 }, (_, v) => Math.fround(v / 127.5) - 1);

/**
 * Divide a picture into tiles. They begin at multiples of the style's size multiple and overlap by
 * the network's reach, so that the result equals that of the whole picture.
 * @param {{width: number, height: number}} size
 * @param {{multiple: number, reach: number}} style
 * @param {number} side side of a tile without overlap, in pixels
 * @returns {{left: number, top: number, right: number, bottom: number, margin: number}[]}
 */
export function tilesOf({ width, height }, { multiple, reach }, side) {
  const up = (value) => Math.ceil(value / multiple) * multiple;
  const margin = up(reach);
  let step = up(side);
  if (up(width) * up(height) <= (step + 2 * margin) ** 2) step = Math.max(up(width), up(height));
  const tiles = [];
  for (let top = 0; top < height; top += step) {
    for (let left = 0; left < width; left += step) {
      const right = Math.min(left + step, width), bottom = Math.min(top + step, height);
      tiles.push({ left, top, right, bottom, margin });
    }
  }
  return tiles;
}

/**
 * Draw one tile.
 * @param {Pixels} photo the whole photo
 * @param {{left: number, top: number, right: number, bottom: number, margin: number}} tile
 * @param {{multiple: number, beyond: number, name: string}} style
 * @param {Network} network
 * @param {Pixels} cartoon where to write; its alpha is unchanged
 */
export async function drawTile(photo, tile, style, network, cartoon) {
  const { multiple, beyond } = style;
  const x = Math.max(0, tile.left - tile.margin), y = Math.max(0, tile.top - tile.margin);
  const width = Math.min(tile.right + tile.margin, photo.width) - x;
  const height = Math.min(tile.bottom + tile.margin, photo.height) - y;
  const up = (side) => Math.ceil((side + 2 * beyond) / multiple) * multiple;
  const drawn = await run(photo, x, y, width, height, beyond, up(width), up(height), network);
  write(drawn, up(width), up(height), tile, x - beyond, y - beyond, tile, cartoon, style);

  // Imported networks (`beyond` 0) come from a pipeline that crops to the size multiple: run them
  // on the cropped part, too, and use the padded run only for the rest.
  const down = (side) => Math.floor(side / multiple) * multiple;
  const right = down(width), bottom = down(height);
  if (beyond || !right || !bottom || (right === width && bottom === height)) return;
  const exact = await run(photo, x, y, width, height, 0, right, bottom, network);
  const kept = {
    left: tile.left,
    top: tile.top,
    right: Math.min(tile.right, x + right),
    bottom: Math.min(tile.bottom, y + bottom),
  };
  write(exact, right, bottom, tile, x, y, kept, cartoon, style);
}

/** Run the network on a part of the photo, padded by reflection to `wide` x `tall`. */
function run(photo, x, y, width, height, beyond, wide, tall, network) {
  const columns = reflected(wide, beyond, width, x), rows = reflected(tall, beyond, height, y);
  const plane = wide * tall;
  const signed = new Float32Array(3 * plane);
  const { data } = photo;
  for (let row = 0, to = 0; row < tall; row++) {
    const line = rows[row] * photo.width;
    for (let column = 0; column < wide; column++, to++) {
      const from = 4 * (line + columns[column]);
      signed[to] = SIGNED[data[from]];
      signed[to + plane] = SIGNED[data[from + 1]];
      signed[to + 2 * plane] = SIGNED[data[from + 2]];
    }
  }
  return network(signed, wide, tall);
}

/** Return `length` indices into [start, start + size), reflected, from `before` ahead of start. */
function reflected(length, before, size, start) {
  const period = Math.max(1, 2 * (size - 1));
  return Int32Array.from({ length }, (_, index) => {
    const place = (((index - before) % period) + period) % period;
    return start + Math.min(place, period - place, size - 1);
  });
}

/** Write the output for a part that begins at (x, y), within `kept`. */
function write(drawn, wide, tall, tile, x, y, kept, cartoon, style) {
  const plane = wide * tall, { data } = cartoon;
  let finite = drawn.length === 3 * plane;
  for (let row = kept.top; row < kept.bottom; row++) {
    let from = (row - y) * wide + kept.left - x;
    let to = 4 * (row * cartoon.width + kept.left);
    for (let column = kept.left; column < kept.right; column++, from++, to += 4) {
      const red = drawn[from], green = drawn[from + plane], blue = drawn[from + 2 * plane];
      if (!Number.isFinite(red + green + blue)) finite = false;
      // A Uint8ClampedArray rounds half to even and clips, like the NumPy code.
      data[to] = (red + 1) * 127.5;
      data[to + 1] = (green + 1) * 127.5;
      data[to + 2] = (blue + 1) * 127.5;
    }
  }
  if (!finite) throw new Error(`${style.name}: made values that are not finite numbers`);
}
