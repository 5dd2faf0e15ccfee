// Runs the network on pixels of any size, in tiles if need be: `_run` and `_run_tile` of
// toonbox/engine/style.py.

/** @typedef {import("./resize.js").Pixels} Pixels */
/**
 * @typedef {(photo: Float32Array, width: number, height: number) => Promise<Float32Array>} Network
 *   takes and gives (3, height, width) in [-1, 1]
 */

const SIGNED = Float32Array.from({ length: 256 }, (_, v) => Math.fround(v / 127.5) - 1);

/**
 * Say which parts of a picture the network sees at once. Tiles begin at multiples of the size rule
 * and overlap by the network's reach, so that each pixel comes out as it would in one piece.
 * @param {{width: number, height: number}} size
 * @param {{multiple: number, reach: number}} style
 * @param {number} side of a tile, in pixels, without what it overlaps by
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
 * @param {Pixels} photo the whole
 * @param {{left: number, top: number, right: number, bottom: number, margin: number}} tile
 * @param {{multiple: number, beyond: number, name: string}} style
 * @param {Network} network
 * @param {Pixels} cartoon where to write; its transparency is left alone
 */
export async function drawTile(photo, tile, style, network, cartoon) {
  const { multiple, beyond } = style;
  const x = Math.max(0, tile.left - tile.margin), y = Math.max(0, tile.top - tile.margin);
  const width = Math.min(tile.right + tile.margin, photo.width) - x;
  const height = Math.min(tile.bottom + tile.margin, photo.height) - y;
  const up = (side) => Math.ceil((side + 2 * beyond) / multiple) * multiple;
  const drawn = await run(photo, x, y, width, height, beyond, up(width), up(height), network);
  write(drawn, up(width), up(height), tile, x - beyond, y - beyond, tile, cartoon, style);

  // Imported networks look at nothing beyond: their own pipeline crops to the size rule. What it
  // throws away is taken from the padded photo.
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

/** Run the network on a part of the photo, reflected at the part's edges to `wide` x `tall`. */
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

/** Places of `length` pixels that begin `before` those from `start` on, `size` of them. */
function reflected(length, before, size, start) {
  const period = Math.max(1, 2 * (size - 1));
  return Int32Array.from({ length }, (_, index) => {
    const place = (((index - before) % period) + period) % period;
    return start + Math.min(place, period - place, size - 1);
  });
}

/** Write what the network made of a part that begins at (x, y), as far as it is in `kept`. */
function write(drawn, wide, tall, tile, x, y, kept, cartoon, style) {
  const plane = wide * tall, { data } = cartoon;
  let finite = drawn.length === 3 * plane;
  for (let row = kept.top; row < kept.bottom; row++) {
    let from = (row - y) * wide + kept.left - x;
    let to = 4 * (row * cartoon.width + kept.left);
    for (let column = kept.left; column < kept.right; column++, from++, to += 4) {
      const red = drawn[from], green = drawn[from + plane], blue = drawn[from + 2 * plane];
      if (!Number.isFinite(red + green + blue)) finite = false;
      // A Uint8ClampedArray rounds halves to even and clips, as NumPy is told to.
      data[to] = (red + 1) * 127.5;
      data[to + 1] = (green + 1) * 127.5;
      data[to + 2] = (blue + 1) * 127.5;
    }
  }
  if (!finite) throw new Error(`${style.name}: made values that are not finite numbers`);
}
