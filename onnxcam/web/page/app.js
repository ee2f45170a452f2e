// The page: files in, the worker's answers drawn. What it shows can be read from `window.onnxcam` (docs/web.md).

import * as beside from "./beside.js";
import { drawBoxes, pointIn, rankAt } from "./boxes.js";
import * as camera from "./camera.js";
import { coloursOf, drawHeat, drawPicture } from "./heat.js";
import { connect } from "./link.js";
import * as models from "./models.js";
import { takeDropped } from "./drop.js";
import { keep } from "./offline.js";
import { describe, label, lasting, list, named } from "./panel.js";
import { save, saveShown } from "./save.js";
import { offer } from "./scripting.js";
import * as sheet from "./sheet.js";
import { api, at } from "./state.js";
import { visible } from "./visible.js";

let site = null; // site.json: what came with the page
const tables = {}; // name of a colour map → its 256 colours
let model = null; // the one that is shown, of models.js
let pictures = []; // the files that were given last
let picture = null; // {picture: Blob, name}, the one of them that is shown
let turn = 0; // counts what was asked for; a long row of images ends when something else is
let wanted = null; // the class that was asked for; null: the model's own
let place = null; // the place that was clicked, in fractions of the image; null: none

function fail(error) {
  api.error = visible(error.message, 1000);
  at("error-text").textContent = api.error;
  at("error").hidden = false;
}

function forgive() {
  api.error = null;
  at("error").hidden = true;
}

/** Let a handler's failure reach the person. */
const safely = (work) => async (...words) => {
  try {
    await work(...words);
  } catch (error) {
    fail(error);
  }
};

const ask = connect(safely(begin), (isBusy) => { at("busy").hidden = !isBusy || camera.isOn(); });

// ---- models and pictures ------------------------------------------------------------------------------------------

/** Open a model; `keepsClass` goes on with the class that was asked for, where the new one has the same names. */
async function openModel(next, keepsClass = false) {
  turn += 1;
  forgive();
  const before = at("status").textContent;
  at("status").textContent = `Opening ${next.name} …`;
  const [asked, names] = [wanted, JSON.stringify(api.facts?.labels)];
  wanted = place = null; // frames of the camera that come meanwhile are for the new model
  try {
    ({ facts: api.facts } = await ask("open", models.source(next)));
  } catch (error) {
    at("status").textContent = before;
    models.remove(next);
    models.draw(model, beside.current());
    throw error;
  }
  model = next;
  [model.method, model.layer] = [api.facts.method, api.facts.layer];
  models.draw(model, beside.current());
  at("status").textContent = "Waiting for an image.";
  api.result = null;
  at("time").textContent = "";
  at("classes").replaceChildren();
  describe(api.facts);
  if (camera.isOn() || !picture) return;
  if (keepsClass && api.facts.takesClass && JSON.stringify(api.facts.labels) === names) wanted = asked;
  if (pictures.length > 1) await explainAll();
  else await explain(picture);
}

async function openPicture(file, asked = null) {
  forgive();
  camera.stop();
  [wanted, place] = [asked, null];
  const before = picture;
  picture = { picture: file, name: visible(file.name || "the pasted image") };
  if (!api.facts) {
    at("step-picture").classList.add("done");
    at("status").textContent = `${picture.name} waits for a model.`;
    return;
  }
  try {
    await explain(picture);
  } catch (error) {
    picture = before; // it is still shown
    throw error;
  }
}

async function openPictures(files) {
  pictures = files;
  turn += 1;
  at("sheet").hidden = true;
  if (files.length > 1 && api.facts) await explainAll();
  else await openPicture(files[0]);
}

/** Explain all images, one after the other, on a sheet. */
async function explainAll() {
  const mine = ++turn;
  let failed = 0;
  sheet.begin(pictures.length);
  for (const file of pictures) {
    const open = safely(async () => ++turn && (await openPicture(file)));
    try {
      await openPicture(file);
      if (mine !== turn) return;
      sheet.add(sheet.cellOf([[at("picture"), 1], [at("heat"), opacity()]]), [api.result.name, beside.captionOf(api.facts, api.result)], open);
    } catch (error) {
      if (mine !== turn) return;
      failed += 1;
      sheet.add(null, [visible(file.name), visible(error.message, 1000)], open);
    }
  }
  const broken = failed ? `; ${failed} of them cannot be shown, the sheet says why` : "";
  at("status").textContent = `${pictures.length} images are explained${broken}.`;
}

async function explain(words, given) {
  const result = await ask(words ? "explain" : "again", { ...words, class: wanted, place }, given);
  result.name = words?.name ?? api.result?.name;
  if (api.beside) api.beside.result = null;
  api.result = result;
  show(result);
  if (beside.current() && !camera.isOn() && picture?.name === result.name) {
    await beside.explain(picture);
    if (api.result === result) show(result);
  }
  api.runs += 1;
}

const kind = ({ name, type }) => {
  if (/\.onnx$/i.test(name)) return "model";
  return type.startsWith("image/") || /\.(png|jpe?g|webp|gif|bmp|avif)$/i.test(name) ? "picture" : null;
};

const take = safely(async (files) => {
  const [given, images] = ["model", "picture"].map((each) => files.filter((file) => kind(file) === each));
  const other = files.find((file) => !kind(file));
  if (other) throw new Error(`${visible(other.name)} is neither an .onnx file nor an image; drop a baked model, or a PNG, JPEG or WebP file`);
  if (given.length && images.length) picture = null; // the old one need not be explained again
  const [first] = given.map((file) => models.add({ file, name: file.name }));
  if (first) await openModel(first);
  if (images.length) await openPictures(images);
});

// ---- what is shown ------------------------------------------------------------------------------------------------

function show(result) {
  at("empty").hidden = true;
  at("shown").hidden = false;
  at("download").disabled = false;
  if (result.picture) drawPicture(at("picture"), result);
  const more = paint();
  list(result);
  const { prepare, run, draw } = result.milliseconds;
  at("time").textContent = `${lasting(run)} in the model, ${lasting(prepare + draw)} around it`;
  const name = result.class === null ? "" : `: ${label(result.class)}`;
  const found = `Heat map${name}${result.blank ? ", blank: nothing here speaks for it" : ""}`;
  const what = result.detections && result.class === null ? "Nothing is detected in this image." : found;
  at("picture").ariaLabel = `${result.name}. ${what}`;
  at("status").ariaLive = camera.isOn() ? "off" : "polite";
  at("status").textContent = what + (more ? `.${more}` : "");
}

function paint() {
  if (!api.result) return "";
  const table = tables[at("colours").value];
  drawHeat(at("heat"), api.result, table);
  at("boxes").hidden = !api.facts.detects;
  if (api.facts.detects) drawBoxes(at("boxes"), api.result);
  return beside.show(Boolean(api.beside?.result), table);
}

async function startCamera() {
  forgive();
  if (!api.facts) throw new Error("there is no model yet; drop a baked model first");
  turn += 1;
  await camera.start((frame) => explain({ picture: frame, name: "the camera" }, [frame]));
}

// ---- what people do -----------------------------------------------------------------------------------------------

async function choose(index) {
  forgive();
  [wanted, place] = [index === wanted ? null : index, null];
  if (!camera.isOn()) await explain(null);
}

const opacity = () => at("opacity").value / 100;

function fade() {
  at("heat").style.opacity = at("beside-heat").style.opacity = opacity();
  at("opacity-value").textContent = `${at("opacity").value} %`;
}

for (const each of ["model", "picture"]) {
  const input = at(`${each}-file`);
  at(`open-${each}`).onclick = () => input.click();
  input.onchange = async () => {
    await take([...input.files]);
    input.value = "";
  };
}
at("camera").onclick = safely(async () => {
  if (camera.isOn()) return camera.stop();
  try {
    await startCamera();
  } catch (error) {
    camera.stop();
    throw error;
  }
});
at("example").onclick = safely(async () => {
  await openModel(models.add({ url: site.example.model, name: site.example.model }));
  const file = await (await fetch(site.example.picture)).blob();
  await openPictures([new File([file], site.example.picture, { type: file.type })]);
});
at("classes").onclick = safely(async ({ target }) => {
  const button = target.closest("button");
  if (button) await choose(Number(button.dataset.class));
});
at("shown").onclick = safely(async ({ clientX, clientY }) => {
  if (!api.result) return;
  const { left, top, width, height } = at("picture").getBoundingClientRect();
  const [x, y] = pointIn(api.result, { width, height }, clientX - left, clientY - top);
  if (api.facts.detects) {
    const rank = rankAt(api.result.detections, x, y);
    if (rank !== null && rank !== api.result.class) await choose(rank);
    return;
  }
  if (!api.facts.takesPlace) return;
  forgive();
  [wanted, place] = [null, [x / api.result.width, y / api.result.height]];
  if (!camera.isOn()) await explain(null);
});
const typed = () => at("other-class").value.trim();
at("other").onsubmit = safely(async (event) => {
  event.preventDefault();
  if (!typed()) return; // Enter comes after the change that it makes, which took the words
  if (!api.result) throw new Error("there is no image yet; drop one");
  const index = named(typed());
  if (index === null) throw new Error(`no class is called ${typed()}; give a name from the list, or a number`);
  at("other-class").value = "";
  if (index === wanted) forgive();
  else await choose(index);
});
at("other-class").onchange = () => api.result && named(typed()) !== null && at("other").requestSubmit(); // Enter says what is wrong
at("model-pick").onchange = safely(() => openModel(models.picked(at("model-pick")), true));
at("beside-pick").onchange = safely(async () => {
  forgive();
  const asked = models.picked(at("beside-pick"));
  at("beside-pick").disabled = true;
  try {
    await beside.open(asked);
  } finally {
    at("beside-pick").disabled = false;
    models.draw(model, beside.current());
    at("beside-pick").focus();
  }
  if (picture && !camera.isOn()) await explain(picture);
});
at("sheet-save").onclick = safely(async () => save(await sheet.saved(), "sheet.png"));
at("dismiss").onclick = forgive;
at("download").onclick = safely(() => saveShown(opacity()));
at("opacity").oninput = fade;
at("colours").onchange = paint;

takeDropped(take);
offer(openModel, (file, asked) => ++turn && openPicture(file, asked));

// ---- begin --------------------------------------------------------------------------------------------------------

async function begin(error) {
  if (error) throw error;
  site = await (await fetch("site.json")).json();
  for (const [name, base64] of Object.entries(site.colours)) {
    tables[name] = coloursOf(base64);
    at("colours").append(new Option(name, name));
  }
  fade();
  if (site.theme.title) document.title = at("title").textContent = visible(site.theme.title);
  if (site.theme.logo) at("logo").src = site.theme.logo;
  document.body.classList.toggle("embed", new URLSearchParams(location.search).has("embed"));
  at("status").textContent = "Waiting for a model and an image.";
  at("example").hidden = !site.example || Boolean(site.model);
  const given = (site.model ? [site.model, ...site.others] : []).map(({ file: url, ...words }) => models.add({ url, ...words }));
  if (given.length) await safely(openModel)(given[0]);
  api.ready = true;
  await keep();
}
