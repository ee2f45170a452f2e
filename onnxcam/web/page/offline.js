// Keep the page for a browser without a network: it can then be installed, and opens as it was last seen.

/** Start the service worker, where the browser lets a page have one: https:// and localhost. */
export async function keep() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("service.js");
}
