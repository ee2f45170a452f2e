// What the page knows, for its scripts and for others (docs/web.md), and short words for the document's elements.

export const at = (id) => document.getElementById(id);

export const api = (window.onnxcam = { ready: false, facts: null, result: null, error: null, runs: 0 });

/** Return a new element with properties and children. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
