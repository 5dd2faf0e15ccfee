// Loads what pixels.ts was compiled to, and gives out its memory.

const PAGE = 1 << 16; // bytes by which WebAssembly's memory grows

let kernels = null; // the functions of pixels.ts
let loading = null;

/** Load it; `kernel` and `memory` may be called from then on. */
export function loadPixels() {
  loading ??= (async () => {
    const answer = await fetch(new URL("vendor/pixels.wasm", import.meta.url));
    if (!answer.ok) throw new Error("vendor/pixels.wasm could not be loaded");
    const { instance } = await WebAssembly.instantiate(await answer.arrayBuffer());
    kernels = instance.exports;
  })();
  return loading;
}

/** Give the functions of pixels.ts. */
export const kernel = () => kernels;

/**
 * Divide the memory, which is lost to whom it belonged before: one job at a time.
 * @param {Object<string, number>} sizes in bytes, by name
 * @returns {Object<string, number>} addresses, of multiples of 16, by name
 */
export function divide(sizes) {
  const { memory } = kernels, places = {};
  let end = 0;
  for (const [name, size] of Object.entries(sizes)) {
    places[name] = end;
    end += (size + 15) & ~15;
  }
  const missing = Math.ceil((end - memory.buffer.byteLength) / PAGE);
  if (missing > 0) memory.grow(missing);
  return places;
}

/** See a part of the memory; until it grows. */
export const bytes = (at, length) => new Uint8ClampedArray(kernels.memory.buffer, at, length);
export const integers = (at, length) => new Int32Array(kernels.memory.buffer, at, length);
export const floats = (at, length) => new Float32Array(kernels.memory.buffer, at, length);
