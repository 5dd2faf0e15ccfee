// Copy the page's dependencies from node_modules to vendor/ and compile pixels.ts; run by `npm ci`.
import asc from "assemblyscript/asc";
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

const { error, stderr } = await asc.main([
  "pixels.ts", "--outFile", "vendor/pixels.wasm", "--optimizeLevel", "3", "--noAssert",
  "--runtime", "stub", "--enable", "simd",
]);
if (error) throw new Error(`pixels.ts: ${stderr}`);
