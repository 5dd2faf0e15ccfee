// The service worker: keeps the page, its runtime and its models, so that everything works offline
// after the first visit, and gives the page the headers that WASM needs for threads.

// What the site consists of, with the SHA-256 of each file in base64; `later` ones are large and
// kept only once they were used. toonbox/page/__init__.py writes it.
const FILES = {};

const CACHE = "toonbox"; // one for all versions: a file that stays the same is not fetched again
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const SCOPE = new URL("./", self.location).href;

// A new version waits until no page of the old one is open, so that nobody gets half of each.
self.addEventListener("install", (event) => event.waitUntil(fetchAll()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("fetch", (event) => {
  const name = nameOf(event.request);
  if (name !== null && Object.hasOwn(FILES, name)) event.respondWith(answer(event.request, name));
});

/** Give a file's name in FILES for a request; null for what is not ours, such as /api/. */
function nameOf({ method, url }) {
  const { origin, pathname } = new URL(url);
  const path = origin + pathname;
  if (method !== "GET" || !path.startsWith(SCOPE)) return null;
  return decodeURI(path.slice(SCOPE.length)) || "index.html";
}

/** The address under which one version of a file is kept. */
function keyOf(name) {
  return `${SCOPE}${name}?sha256=${encodeURIComponent(FILES[name].sha256)}`;
}

async function fetchAll() {
  const cache = await caches.open(CACHE);
  for (const [name, { later }] of Object.entries(FILES)) {
    if (!later && !(await cache.match(keyOf(name)))) await keep(cache, name);
  }
}

/** Fetch a file and keep it, if it is of this version. */
async function keep(cache, name) {
  const fetched = await fetch(`${SCOPE}${name}`, {
    cache: "no-cache",
    integrity: `sha256-${FILES[name].sha256}`,
  });
  if (!fetched.ok) throw new Error(`${name}: ${fetched.status}`);
  const isolated = withHeaders(fetched);
  await cache.put(keyOf(name), isolated.clone());
  return isolated;
}

function withHeaders(response) {
  const headers = new Headers(response.headers);
  for (const [header, value] of Object.entries(HEADERS)) headers.set(header, value);
  return new Response(response.body, { status: response.status, headers });
}

async function takeOver() {
  const cache = await caches.open(CACHE);
  const current = new Set(Object.keys(FILES).map(keyOf));
  for (const { url } of await cache.keys()) {
    if (!current.has(url)) await cache.delete(url);
  }
  await self.clients.claim();
}

async function answer(request, name) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(keyOf(name));
  if (kept) return kept;
  try {
    return await keep(cache, name);
  } catch {
    return withHeaders(await fetch(request)); // the storage is full, or the site has changed
  }
}
