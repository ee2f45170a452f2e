// What scripts can do with the page, and the page that embeds it: open a model, explain an image (docs/web.md).

import * as models from "./models.js";
import { api } from "./state.js";

const blob = async (source) => (source instanceof Blob ? source : await (await fetch(source)).blob());
const nameOf = (source, other) => source.name ?? (typeof source === "string" ? source.split("/").pop() : other);

/** Return the number of a class that is given as a name or a number; null for the model's own. */
function numberOf(wanted) {
  if (wanted === undefined || wanted === null) return null;
  const index = typeof wanted === "number" ? wanted : (api.facts.labels ?? []).indexOf(wanted);
  if (index < 0 || index >= (api.facts.labels?.length ?? Infinity)) throw new Error(`no class is called ${wanted}`);
  if (!api.facts.takesClass) throw new Error(`${api.facts.name} explains its own class only; bake it with --target input`);
  return index;
}

/** Give `window.onnxcam` its functions; an error rejects their promise. */
export function offer(openModel, openPicture) {
  api.open = async (source) => {
    const file = await blob(source);
    await openModel(models.add({ file, name: nameOf(source, "model.onnx") }));
    return api.facts;
  };
  api.explain = async (source, { class: wanted } = {}) => {
    if (!api.facts) throw new Error("there is no model yet; call onnxcam.open first");
    const asked = numberOf(wanted);
    const file = await blob(source);
    await openPicture(file instanceof File ? file : new File([file], nameOf(source, "image"), { type: file.type }), asked);
    return api.result;
  };
}
