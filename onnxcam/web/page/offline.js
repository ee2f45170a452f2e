// Keep the page for a browser without a network: it can then be installed, and opens as it was last seen.

/** Start the service worker, where the browser lets a page have one: https:// and localhost, no private window. */
export async function keep() {
  try {
    await navigator.serviceWorker?.register("service.js");
  } catch (error) {
    console.info(`The page is not kept for use without a network: ${error.message}`); // all else works
  }
}
