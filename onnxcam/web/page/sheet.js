// Several images on one sheet: a row of small maps to click, and one PNG of all of them with their names.

import { at, element } from "./state.js";

const SIDE = 320; // pixels of a cell
const LINE = 20;
const cells = []; // {canvas, lines: [name, what]}

/** Return a small copy of pictures that lie over each other: [[canvas, opacity], …]. */
export function cellOf(layers) {
  const [first] = layers[0];
  const scale = Math.min(1, SIDE / Math.max(first.width, first.height));
  const size = { width: Math.max(1, first.width * scale), height: Math.max(1, first.height * scale) };
  const canvas = element("canvas", size);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  for (const [layer, opacity] of layers) {
    context.globalAlpha = opacity;
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
  }
  return canvas;
}

/** Return a promise of a PNG of cells in rows, each above its lines of text. */
export function sheetOf(given) {
  const columns = Math.min(given.length, Math.max(2, Math.round(Math.sqrt(given.length * 1.5))));
  const [width, height] = [SIDE + LINE, SIDE + 3 * LINE];
  const sheet = element("canvas", { width: columns * width + LINE, height: Math.ceil(given.length / columns) * height + LINE });
  const context = sheet.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.fillStyle = "#171b22";
  context.font = "14px system-ui, sans-serif";
  given.forEach(({ canvas, lines }, index) => {
    const [x, y] = [LINE + (index % columns) * width, LINE + Math.floor(index / columns) * height];
    if (canvas) context.drawImage(canvas, x + (SIDE - canvas.width) / 2, y + (SIDE - canvas.height) / 2);
    lines.forEach((line, row) => context.fillText(fitted(context, line), x, y + SIDE + (row + 1) * LINE - 4));
  });
  return new Promise((resolve) => sheet.toBlob(resolve));
}

/** Return a line, cut to the width of a cell. */
function fitted(context, line) {
  let text = line;
  while (text && context.measureText(text).width > SIDE) text = `${text.slice(0, -2)}…`;
  return text;
}

/** Return a promise of a PNG of all images so far. */
export const saved = () => sheetOf(cells);

/** Begin a sheet of so many images. */
export function begin(count) {
  cells.length = 0;
  at("sheet-images").replaceChildren();
  at("sheet").hidden = false;
  at("sheet-title").textContent = `${count} images`;
}

/** Add an image; without a canvas, the second line says why. A click calls `open`. */
export function add(canvas, lines, open) {
  cells.push({ canvas, lines });
  const text = lines.map((line) => element("span", { textContent: line, title: line }));
  const button = element("button", { type: "button", onclick: open, disabled: !canvas }, ...(canvas ? [canvas] : []), ...text);
  if (canvas) canvas.ariaHidden = true;
  at("sheet-images").append(element("li", {}, button));
}
