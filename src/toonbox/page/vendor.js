// Copies what the page loads out of node_modules into vendor/; run by `npm ci`.
import { copyFileSync, mkdirSync, rmSync } from "node:fs";

const FILES = {
  "onnxruntime-web/dist": [
    "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
    "ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi.mjs", "ort-wasm-simd-threaded.jspi.wasm",
  ],
  "mediabunny/dist/bundles": ["mediabunny.min.mjs"],
};

rmSync("vendor", { recursive: true, force: true });
mkdirSync("vendor");
for (const [folder, names] of Object.entries(FILES)) {
  for (const name of names) copyFileSync(`node_modules/${folder}/${name}`, `vendor/${name}`);
}
