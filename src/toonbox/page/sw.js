// The service worker: caches the page, its runtime and its models for offline use, and adds the
// headers that WebAssembly needs for threads.

// The files of the site with their SHA-256 in base64; large ones, marked `later`, are cached when
// they are first used. Filled in by toonbox/page/__init__.py.
const FILES = {};

const CACHE = "toonbox"; // shared by all versions: unchanged files are not fetched again
const OURS = `const CACHE = "${CACHE}";`; // in each version of this file
const PATIENCE = 10_000; // milliseconds; a slower network counts as none
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const SCOPE = new URL("./", self.location).href;

// A new version activates once no page of the old one is open, so that versions do not mix.
self.addEventListener("install", (event) => event.waitUntil(fetchAll()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("fetch", (event) => {
  const name = nameOf(event.request);
  if (name === null || !Object.hasOwn(FILES, name)) return;
  const respond = event.request.mode === "navigate" ? visit : answer;
  event.respondWith(respond(event.request, name));
});

/** Return the name of a requested file; null outside the scope, and for a token to the server. */
function nameOf({ method, url }) {
  const { origin, pathname, searchParams } = new URL(url);
  const path = origin + pathname;
  if (method !== "GET" || !path.startsWith(SCOPE) || searchParams.has("token")) return null;
  return decodeURI(path.slice(SCOPE.length)) || "index.html";
}

/** Return the cache key of the current version of a file. */
function keyOf(name) {
  return `${SCOPE}${name}?sha256=${encodeURIComponent(FILES[name].sha256)}`;
}

async function fetchAll() {
  for (const [name, { later }] of Object.entries(FILES)) {
    if (!later && !(await kept(name))) await keep(name);
  }
}

/** Return a file from the cache, which is not created by that. */
function kept(name) {
  return caches.match(keyOf(name), { cacheName: CACHE });
}

/** Fetch and cache a file; fail if its hash differs. */
async function keep(name) {
  const fetched = await fetch(`${SCOPE}${name}`, {
    cache: "no-cache",
    integrity: `sha256-${FILES[name].sha256}`,
  });
  if (!fetched.ok) throw new Error(`${name}: ${fetched.status}`);
  const isolated = withHeaders(fetched);
  const cache = await caches.open(CACHE);
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

/** Answer with the page, or leave if another program now has its address. */
async function visit(request, name) {
  if (!(await replaced())) return answer(request, name);
  await self.registration.unregister();
  await caches.delete(CACHE);
  return fetch(request);
}

/** Return whether the site has gone from its address; not if the network or the host fails. */
async function replaced() {
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    const found = await fetch(self.location, { cache: "no-store", signal });
    if (found.ok) return !(await found.text()).includes(OURS);
    return found.status === 404 || found.status === 410;
  } catch {
    return false;
  }
}

async function answer(request, name) {
  const found = await kept(name);
  if (found) return found;
  try {
    return await keep(name);
  } catch {
    return withHeaders(await fetch(request)); // the cache is full, or the site has changed
  }
}
