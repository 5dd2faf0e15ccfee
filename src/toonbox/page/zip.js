/** Write a ZIP archive without compression, for files that are already compressed. */

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const UTF8 = 0x0800; // flag: names are UTF-8
const LIMIT = 0xffffffff; // bytes; larger archives need ZIP64

/**
 * Compute a CRC-32.
 * @param {Uint8Array} bytes
 */
export function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/**
 * Number repeated names: a.jpg, a (2).jpg. Case is ignored, as in many file systems.
 * @param {string[]} names
 * @returns {string[]}
 */
export function uniqueNames(names) {
  const taken = new Set();
  return names.map((name) => {
    const dot = name.lastIndexOf(".");
    const [stem, suffix] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ""];
    let free = name;
    for (let number = 2; taken.has(free.toLowerCase()); number++) {
      free = `${stem} (${number})${suffix}`;
    }
    taken.add(free.toLowerCase());
    return free;
  });
}

/**
 * Create an archive of blobs, without loading them all into memory.
 * @param {{name: string, blob: Blob}[]} files
 * @param {Date} [date] modification time of all files
 * @returns {Promise<Blob>}
 */
export async function zip(files, date = new Date()) {
  const names = uniqueNames(files.map((file) => file.name.replace(/[/\\]/g, "_")));
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = (Math.max(0, date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5)
    | date.getDate();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [index, { blob }] of files.entries()) {
    const name = new TextEncoder().encode(names[index]);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    // Shared by the header before the file and the entry in the directory.
    const common = [[2, 20], [2, UTF8], [2, 0], [2, time], [2, day], [4, crc], [4, blob.size],
      [4, blob.size], [2, name.length], [2, 0]];
    directory.push(record(0x02014b50, [[2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0],
      [4, offset]]), name);
    const header = record(0x04034b50, common);
    parts.push(header, name, blob);
    offset += header.length + name.length + blob.size;
    if (offset > LIMIT) throw new Error("the archive would be larger than 4 GB");
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record(0x06054b50, [[2, 0], [2, 0], [2, files.length], [2, files.length], [4, size],
    [4, offset], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/**
 * Encode a record: its signature, then fields of (bytes, value), little-endian.
 * @param {number} signature
 * @param {[2|4, number][]} fields
 * @returns {Uint8Array}
 */
function record(signature, fields) {
  const bytes = new Uint8Array(4 + fields.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, signature, true);
  let at = 4;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}
