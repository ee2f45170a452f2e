// A second model beside the first: in a worker of its own, on the same image and, where it takes it, for the same class.

import { drawHeat, drawPicture } from "./heat.js";
import { connect } from "./link.js";
import * as models from "./models.js";
import { labelOf, percent } from "./panel.js";
import { api, at } from "./state.js";

let worker = null; // a promise of its `ask`; it is started when it is needed
let model = null; // what is beside

const started = () => (worker ??= new Promise((resolve, reject) => {
  const ask = connect((error) => (error ? reject(error) : resolve(ask)), () => {});
}));

/** Return the model that is beside, or null. */
export const current = () => model;

/** Open a model to be beside, or null for none. */
export async function open(wanted) {
  model = api.beside = null;
  if (!wanted) return;
  const { facts } = await (await started())("open", models.source(wanted));
  [wanted.method, wanted.layer] = [facts.method, facts.layer];
  model = wanted;
  api.beside = { facts, result: null, correlation: null };
}

/** Return the number of the other model's class for this one: that of its name, where both have names. */
function sameClass(index) {
  const { facts } = api.beside;
  if (index === null || index < 0 || !facts.takesClass || facts.detects || api.facts.detects) return null;
  if (!facts.labels || !api.facts.labels) return index;
  const same = facts.labels.indexOf(api.facts.labels[index]);
  return same < 0 ? null : same;
}

/** Return the correlation of two maps over one image; null where one is constant. */
export function correlation(one, other) {
  const mean = (x) => x.reduce((sum, value) => sum + value, 0) / x.length;
  const [a, b] = [mean(one), mean(other)];
  let [both, first, second] = [0, 0, 0];
  for (let i = 0; i < one.length; i++) {
    both += (one[i] - a) * (other[i] - b);
    first += (one[i] - a) ** 2;
    second += (other[i] - b) ** 2;
  }
  return first && second ? both / Math.sqrt(first * second) : null;
}

/** Explain the image that the first model explained. */
export async function explain(image) {
  const asked = api.beside;
  const result = await (await started())("explain", { ...image, class: sameClass(api.result.class), place: null });
  if (api.beside === asked)
    Object.assign(asked, { result, correlation: correlation(api.result.places, result.places) });
}

/** Return what a map shows: the class, and how probable it is. */
export function captionOf(facts, result) {
  if (result.class === null) return result.detections ? "nothing is detected" : "";
  const share = result.probabilities?.[result.class];
  return `${labelOf(facts, result, result.class)}${share === undefined ? "" : ` ${percent(share)}`}`;
}

/** Draw the pane, or hide it. */
export function show(isShown, table) {
  const { facts, result, correlation: found } = api.beside ?? {};
  at("view").classList.toggle("two", isShown);
  at("beside").hidden = at("shown-caption").hidden = !isShown;
  if (!isShown) return "";
  if (result.picture) drawPicture(at("beside-picture"), result);
  drawHeat(at("beside-heat"), result, table);
  const said = [[api.facts, api.result], [facts, result]].map((each) => captionOf(...each));
  at("shown-caption").textContent = `${models.words(api.facts)}\n${said[0]}`;
  at("beside-caption").textContent = `${models.words(facts)}\n${said[1]}`;
  at("beside-picture").ariaLabel = `${api.result.name}, explained by ${models.words(facts)}: ${said[1]}`;
  const alike = found === null ? "" : `; correlation of the maps ${found.toFixed(2)}`;
  return ` Beside it: ${said[1] || "its heat map"}${alike}.`;
}
