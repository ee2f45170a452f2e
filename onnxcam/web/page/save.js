// Files out: the image with its heat map, both panes, or a sheet, as PNG.

import { overlaid } from "./heat.js";
import { label } from "./panel.js";
import { cellOf, sheetOf } from "./sheet.js";
import { api, at, element } from "./state.js";

/** Give a file to the person. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Save the image with its heat map, and where a model is beside, both with their captions. */
export async function saveShown(opacity) {
  const name = api.result.name.replace(/\.[^.]+$/, "").replaceAll(" ", "-");
  if (!api.beside?.result)
    return save(await overlaid(at("picture"), at("heat"), opacity), `${name}-${label(api.result.class)}.png`);
  const cells = [["", "shown"], ["beside-", "beside"]].map(([before, pane]) => ({
    canvas: cellOf([[at(`${before}picture`), 1], [at(`${before}heat`), opacity]]),
    lines: at(`${pane}-caption`).textContent.split("\n"),
  }));
  save(await sheetOf(cells), `${name}-beside.png`);
}
