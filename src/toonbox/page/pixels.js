// Load the WebAssembly module compiled from pixels.ts, and manage its memory.

const PAGE = 1 << 16; // bytes; unit of growth of WebAssembly memory

let kernels = null; // the functions of pixels.ts
let loading = null;

/** Load the module; the other functions require it. */
export function loadPixels() {
  loading ??= (async () => {
    const answer = await fetch(new URL("vendor/pixels.wasm", import.meta.url));
    if (!answer.ok) throw new Error("vendor/pixels.wasm could not be loaded");
    const { instance } = await WebAssembly.instantiate(await answer.arrayBuffer());
    kernels = instance.exports;
  })();
  return loading;
}

/** Return the functions of pixels.ts. */
export const kernel = () => kernels;

/**
 * Allocate the memory for one job, which invalidates any earlier allocation.
 * @param {Object<string, number>} sizes in bytes, by name
 * @returns {Object<string, number>} addresses by name, multiples of 16
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

/** Return a view of the memory, valid until it grows. */
export const bytes = (at, length) => new Uint8ClampedArray(kernels.memory.buffer, at, length);
export const integers = (at, length) => new Int32Array(kernels.memory.buffer, at, length);
export const floats = (at, length) => new Float32Array(kernels.memory.buffer, at, length);
