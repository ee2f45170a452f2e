// The service worker: what the server answers is kept; what it does not answer comes from what was kept.

const KEPT = "onnxcam";
const own = self.registration.scope;

/** All files of the page, as site.json lists them. */
async function fill() {
  const { files } = await (await fetch("site.json")).json();
  const cache = await caches.open(KEPT);
  await cache.addAll(["./", ...files]);
}

/** The server's answer, which is kept; without one the last that was kept. */
async function answer(request) {
  const cache = await caches.open(KEPT);
  try {
    const found = await fetch(request);
    if (found.ok) await cache.put(request, found.clone());
    return found;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: request.mode === "navigate" });
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("install", (event) => event.waitUntil(fill().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(own)) event.respondWith(answer(request));
});
