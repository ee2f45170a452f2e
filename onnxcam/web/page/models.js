// The models that the page was given: a picker of what is shown, and one of what is shown beside it.

import { at } from "./state.js";
import { visible } from "./visible.js";

const models = []; // {name, file | url, method, layer}; the last two once they are known

/** Keep a model and return it; one of the same name is replaced. */
export function add({ name, ...words }) {
  const model = { name: visible(name), ...words };
  const index = models.findIndex((each) => each.name === model.name);
  models.splice(index < 0 ? models.length : index, 1, model);
  return model;
}

/** Forget a model that cannot be opened. */
export function remove(model) {
  if (models.includes(model)) models.splice(models.indexOf(model), 1);
}

/** Return what the worker needs to open a model. */
export const source = ({ name, file, url }) => ({ name, file, url });

/** Return a model's name, with its method and layer once they are known. */
export const words = ({ name, method, layer }) =>
  method ? `${name}: ${visible(method)}${layer ? ` at ${visible(layer)}` : ""}` : name;

/** Return the model that was picked, null for none. */
export const picked = (select) => models[select.value] ?? null;

/** Fill the pickers; they are there as soon as there is a choice. */
export function draw(current, beside) {
  const options = () => models.map((model, index) => new Option(words(model), index));
  at("model-pick").replaceChildren(...options());
  at("beside-pick").replaceChildren(new Option("nothing", ""), ...options());
  at("model-pick").value = models.indexOf(current);
  at("beside-pick").value = beside ? models.indexOf(beside) : "";
  at("pickers").hidden = models.length < 2;
}
