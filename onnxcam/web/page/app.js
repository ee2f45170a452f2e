// The page: files in, the worker's answers drawn. What it shows can be read from `window.onnxcam` (docs/web.md).

import { drawBoxes, pointIn, rankAt } from "./boxes.js";
import { coloursOf, drawHeat, overlaid } from "./heat.js";
import { connect } from "./link.js";
import { visible } from "./visible.js";

const at = (id) => document.getElementById(id);
const api = (window.onnxcam = { ready: false, facts: null, result: null, error: null, runs: 0 });

const LIMIT = 1000; // labels that are offered while typing
let site = null; // site.json: what came with the page
const tables = {}; // name of a colour map → its 256 colours
let picture = null; // {picture: Blob, name}, the last file
let wanted = null; // the class that was asked for; null: the model's own
let place = null; // the place that was clicked, in fractions of the image; null: none
let camera = null; // its stream, while it runs

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

const ask = connect(safely(begin), (isBusy) => { at("busy").hidden = !isBusy || Boolean(camera); });

// ---- models and pictures ------------------------------------------------------------------------------------------

async function openModel({ name, ...words }) {
  const source = { ...words, name: visible(name) };
  forgive();
  const before = at("status").textContent;
  at("status").textContent = `Opening ${source.name} …`;
  wanted = place = null; // frames of the camera that come meanwhile are for the new model
  try {
    ({ facts: api.facts } = await ask("open", source));
  } catch (error) {
    at("status").textContent = before;
    throw error;
  }
  at("status").textContent = "Waiting for an image.";
  api.result = null;
  at("time").textContent = "";
  at("classes").replaceChildren();
  describe(api.facts);
  if (picture && !camera) await explain(picture);
}

async function openPicture(file) {
  forgive();
  stopCamera();
  wanted = place = null;
  picture = { picture: file, name: visible(file.name || "the pasted image") };
  if (api.facts) await explain(picture);
  else {
    at("step-picture").classList.add("done");
    at("status").textContent = `${picture.name} waits for a model.`;
  }
}

async function explain(words, given) {
  const result = await ask(words ? "explain" : "again", { ...words, class: wanted, place }, given);
  result.name = words?.name ?? api.result?.name;
  api.result = result;
  api.runs += 1;
  show(result);
}

const kind = ({ name, type }) => {
  if (/\.onnx$/i.test(name)) return "model";
  return type.startsWith("image/") || /\.(png|jpe?g|webp|gif|bmp|avif)$/i.test(name) ? "picture" : null;
};

const take = safely(async (files) => {
  const [model, image] = ["model", "picture"].map((each) => files.find((file) => kind(file) === each));
  const other = files.find((file) => !kind(file));
  if (other) throw new Error(`${visible(other.name)} is neither an .onnx file nor an image; drop a baked model, or a PNG, JPEG or WebP file`);
  if (model && image) picture = null; // the old one need not be explained again
  if (model) await openModel({ file: model, name: model.name });
  if (image) await openPicture(image);
});

// ---- what is shown ------------------------------------------------------------------------------------------------

const className = (index) => (index < 0 ? "no class" : api.facts.labels?.[index] ?? `class ${index}`);
const label = (index) => (api.facts.detects ? className(api.result?.detections[index]?.class) : className(index));
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const lasting = (time) => (time < 1000 ? `${time.toFixed(time < 10 ? 1 : 0)} ms` : `${(time / 1000).toFixed(1)} s`);

function show(result) {
  at("empty").hidden = true;
  at("shown").hidden = false;
  at("download").disabled = false;
  if (result.picture) {
    const canvas = at("picture");
    [canvas.width, canvas.height] = [result.width, result.height];
    canvas.getContext("2d").drawImage(result.picture, 0, 0);
    result.picture.close();
  }
  paint();
  list(result);
  const { prepare, run, draw } = result.milliseconds;
  at("time").textContent = `${lasting(run)} in the model, ${lasting(prepare + draw)} around it`;
  const name = result.class === null ? "" : `: ${label(result.class)}`;
  const found = `Heat map${name}${result.blank ? ", blank: nothing here speaks for it" : ""}`;
  const what = result.detections && result.class === null ? "Nothing is detected in this image." : found;
  at("picture").ariaLabel = `${result.name}. ${what}`;
  at("status").ariaLive = camera ? "off" : "polite";
  at("status").textContent = what;
}

function paint() {
  if (!api.result) return;
  drawHeat(at("heat"), api.result, tables[at("colours").value]);
  at("boxes").hidden = !api.facts.detects;
  if (api.facts.detects) drawBoxes(at("boxes"), api.result);
}

function list({ scores, probabilities, top, class: chosen }) {
  const rows = chosen === null || chosen < 0 || top.includes(chosen) ? top : [...top, chosen];
  const items = rows.map((index) => {
    const [bar, name, much, button] = ["span", "span", "span", "button"].map((tag) => document.createElement(tag));
    [bar.className, name.className, much.className] = ["bar", "name", "much"];
    bar.style.width = probabilities ? percent(probabilities[index]).replace(" ", "") : "0";
    name.textContent = name.title = label(index);
    much.textContent = probabilities ? percent(probabilities[index]) : String(scores[index] ?? "");
    button.type = "button";
    button.dataset.class = index;
    button.ariaPressed = index === chosen;
    button.disabled = !api.facts.takesClass;
    button.append(bar, name, much);
    const item = document.createElement("li");
    item.append(button);
    return item;
  });
  const focused = document.activeElement?.dataset.class;
  at("classes").replaceChildren(...items);
  if (focused) at("classes").querySelector(`[data-class="${focused}"]`)?.focus();
}

function describe(facts) {
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
    ...(facts.guess ? { Preprocessing: facts.guess } : {}),
    "Heat map": facts.heatmap,
    Opened: `in ${lasting(facts.loaded)}, ${facts.threads} thread${facts.threads > 1 ? "s" : ""}`,
  };
  at("facts").replaceChildren(...Object.entries(rows).flatMap(([term, words]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [term, words];
    return [dt, dd];
  }));
  at("shown").classList.toggle("places", facts.takesPlace || facts.detects);
  at("hint").hidden = facts.takesClass && !facts.takesPlace;
  at("hint").textContent = facts.takesPlace ? "Click a place of the image: the map is that of the class there." : `This file explains ${explains} only. For any class you click, bake it with --target input.`;
  at("other").hidden = !facts.takesClass || facts.detects;
  at("labels").replaceChildren(...(facts.labels ?? []).slice(0, LIMIT).map((name) => new Option(name, name)));
}

// ---- camera -------------------------------------------------------------------------------------------------------

async function startCamera() {
  forgive();
  if (!api.facts) throw new Error("there is no model yet; drop a baked model first");
  if (!navigator.mediaDevices) throw new Error("the camera needs https:// or localhost; open the page there");
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
  } catch {
    throw new Error("the camera cannot be used; allow it for this page, or close what else uses it");
  }
  at("camera").ariaPressed = true;
  at("camera").textContent = "Stop";
  const video = Object.assign(document.createElement("video"), { srcObject: camera, muted: true, playsInline: true });
  await video.play();
  const stream = camera;
  while (camera === stream) {
    const frame = await createImageBitmap(video);
    await explain({ picture: frame, name: "the camera" }, [frame]);
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  at("camera").ariaPressed = false;
  at("camera").textContent = "Camera";
}

// ---- what people do -----------------------------------------------------------------------------------------------

async function choose(index) {
  forgive();
  [wanted, place] = [index === wanted ? null : index, null];
  if (!camera) await explain(null);
}

/** Return the class of a name or a number, null where there is none. */
function named(words) {
  const names = api.facts.labels ?? [];
  const index = names.findIndex((name) => name.toLowerCase() === words.toLowerCase());
  const number = index >= 0 ? index : /^\d+$/.test(words) ? Number(words) : NaN;
  return number < api.result.scores.length ? number : null;
}

async function download() {
  const blob = await overlaid(at("picture"), at("heat"), at("opacity").value / 100);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${api.result.name.replace(/\.[^.]+$/, "").replaceAll(" ", "-")}-${label(api.result.class)}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function fade() {
  at("heat").style.opacity = at("opacity").value / 100;
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
  if (camera) return stopCamera();
  try {
    await startCamera();
  } catch (error) {
    stopCamera();
    throw error;
  }
});
at("example").onclick = safely(async () => {
  await openModel({ url: site.example.model, name: site.example.model });
  const file = await (await fetch(site.example.picture)).blob();
  await openPicture(new File([file], site.example.picture, { type: file.type }));
});
at("classes").onclick = safely(async ({ target }) => {
  const button = target.closest("button");
  if (button) await choose(Number(button.dataset.class));
});
at("shown").onclick = safely(async ({ clientX, clientY }) => {
  if (!api.result) return;
  const { left, top, width, height } = at("picture").getBoundingClientRect();
  if (api.facts.detects) {
    const [x, y] = pointIn(api.result, { width, height }, clientX - left, clientY - top);
    const rank = rankAt(api.result.detections, x, y);
    if (rank !== null && rank !== api.result.class) await choose(rank);
    return;
  }
  if (!api.facts.takesPlace) return;
  forgive();
  [wanted, place] = [null, [(clientX - left) / width, (clientY - top) / height]];
  if (!camera) await explain(null);
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
at("dismiss").onclick = forgive;
at("download").onclick = safely(download);
at("opacity").oninput = fade;
at("colours").onchange = paint;

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.toggle("dragging", Boolean(holdsFiles(event)));
};
document.ondragleave = (event) => !event.relatedTarget && document.body.classList.remove("dragging");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (holdsFiles(event)) take([...event.dataTransfer.files]);
};
document.onpaste = (event) => event.clipboardData.files.length && take([...event.clipboardData.files]);

// ---- begin --------------------------------------------------------------------------------------------------------

async function begin(error) {
  if (error) throw error;
  site = await (await fetch("site.json")).json();
  for (const [name, base64] of Object.entries(site.colours)) {
    tables[name] = coloursOf(base64);
    at("colours").append(new Option(name, name));
  }
  fade();
  at("status").textContent = "Waiting for a model and an image.";
  at("example").hidden = !site.example || Boolean(site.model);
  if (site.model) await safely(openModel)({ url: site.model.file, name: site.model.name });
  api.ready = true;
}
