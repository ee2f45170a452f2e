// The right-hand side of the page: the classes of a result, and what is known of the model.

import { api, at, element } from "./state.js";

const LIMIT = 1000; // labels that are offered while typing

/** Return the name of a class of the model with these facts; of a detector, of the detection of that rank. */
export const labelOf = (facts, result, index) => {
  const number = facts.detects ? result?.detections[index]?.class : index;
  return number < 0 ? "no class" : facts.labels?.[number] ?? `class ${number}`;
};
export const label = (index) => labelOf(api.facts, api.result, index);
export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const lasting = (time) => (time < 1000 ? `${time.toFixed(time < 10 ? 1 : 0)} ms` : `${(time / 1000).toFixed(1)} s`);

/** List the best classes of a result, and the one that is explained. */
export function list({ scores, probabilities, top, class: chosen }) {
  const rows = chosen === null || chosen < 0 || top.includes(chosen) ? top : [...top, chosen];
  const items = rows.map((index) => {
    const bar = element("span", { className: "bar" });
    bar.style.width = probabilities ? percent(probabilities[index]).replace(" ", "") : "0";
    const name = element("span", { className: "name", textContent: label(index), title: label(index) });
    const much = probabilities ? percent(probabilities[index]) : String(scores[index] ?? "");
    const state = { type: "button", ariaPressed: index === chosen, disabled: !api.facts.takesClass };
    const button = element("button", state, bar, name, element("span", { className: "much", textContent: much }));
    button.dataset.class = index;
    return element("li", {}, button);
  });
  const focused = document.activeElement?.dataset.class;
  at("classes").replaceChildren(...items);
  if (focused) at("classes").querySelector(`[data-class="${focused}"]`)?.focus();
}

/** Show what an opened model is, and what it explains. */
export function describe(facts) {
  at("step-model").classList.add("done");
  at("step-model-text").textContent = facts.name;
  at("example").hidden = true;
  at("no-model").hidden = true;
  const explains = facts.detects ? "each detection" : facts.takesPlace ? "any class, or that at a place" : facts.takesClass ? "any class" : facts.fixed === null ? "its own top class" : label(facts.fixed);
  const rows = {
    File: `${facts.name}, ${(facts.bytes / 1e6).toFixed(1)} MB`,
    Method: facts.method + (facts.layer ? ` at ${facts.layer}` : ""),
    Explains: explains,
    Input: facts.inside ? "the image, uint8" : `a tensor, ${facts.dtype}, made here`,
    Preprocessing: facts.preprocessing,
    "Heat map": facts.heatmap,
    Opened: `in ${lasting(facts.loaded)}`,
    Engine: facts.engine,
  };
  at("facts").replaceChildren(...Object.entries(rows).flatMap(([term, words]) => [
    element("dt", { textContent: term }), element("dd", { textContent: words }),
  ]));
  at("shown").classList.toggle("places", facts.takesPlace || facts.detects);
  at("hint").hidden = facts.takesClass && !facts.takesPlace;
  at("hint").textContent = facts.takesPlace ? "Click a place of the image: the map is that of the class there." : `This file explains ${explains} only. For any class you click, bake it with --target input.`;
  at("other").hidden = !facts.takesClass || facts.detects;
  at("labels").replaceChildren(...(facts.labels ?? []).slice(0, LIMIT).map((name) => new Option(name, name)));
}

/** Return the class of a name or a number, null where there is none. */
export function named(words) {
  const names = api.facts.labels ?? [];
  const index = names.findIndex((name) => name.toLowerCase() === words.toLowerCase());
  const number = index >= 0 ? index : /^\d+$/.test(words) ? Number(words) : NaN;
  return number < api.result.scores.length ? number : null;
}
