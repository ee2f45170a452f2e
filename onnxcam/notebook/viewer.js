// The viewer: draws the map over the photo, and tells Python what is chosen. Text is set as text, never as HTML.

function element(kind, parent, properties = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  parent.append(made);
  return made;
}

async function pixels(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

// photo (1 - a) + colour a, where a is the opacity of the map's level times that of the slider.
function blend(photo, heat, palette, opacity) {
  const drawn = new ImageData(photo.width, photo.height);
  for (let at = 0; at < photo.data.length; at += 4) {
    const level = 4 * heat.data[at];
    const weight = (palette[level + 3] / 255) * opacity;
    for (let channel = 0; channel < 3; channel++) {
      const below = photo.data[at + channel];
      drawn.data[at + channel] = Math.round(below + weight * (palette[level + channel] - below));
    }
    drawn.data[at + 3] = 255;
  }
  return drawn;
}

function drawBar(canvas, palette) {
  canvas.width = 256;
  canvas.height = 1;
  const row = new ImageData(256, 1);
  row.data.set(palette);
  for (let at = 3; at < 1024; at += 4) row.data[at] = 255;
  canvas.getContext("2d").putImageData(row, 0, 0);
}

function chooser(model, panel, name, listed, words) {
  const label = element("label", panel, { textContent: words });
  const select = element("select", label);
  select.setAttribute("aria-label", words);
  const fill = () => {
    const every = model.get(listed);
    const chosen = model.get(name);
    select.replaceChildren();
    for (const one of every.includes(chosen) ? every : [chosen, ...every]) {
      element("option", select, { value: one, textContent: one });
    }
    select.value = chosen;
  };
  select.onchange = () => choose(model, name, select.value);
  model.on(`change:${name}`, fill);
  model.on(`change:${listed}`, fill);
  fill();
}

function choose(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

function targets(model, panel) {
  const label = element("label", panel, { textContent: "class or target" });
  const input = element("input", label, { placeholder: "a class, or another target" });
  const row = element("div", panel, { className: "targets" });
  const fill = () => {
    const chosen = model.get("target");
    row.replaceChildren();
    for (const [text, words] of model.get("targets")) {
      const button = element("button", row, { type: "button", textContent: text });
      button.setAttribute("aria-pressed", String(words === (chosen || model.get("targets")[0][1])));
      button.onclick = () => choose(model, "target", words);
    }
    input.value = chosen;
  };
  input.onchange = () => choose(model, "target", input.value.trim());
  model.on("change:target", fill);
  model.on("change:targets", fill);
  fill();
}

function slider(model, panel, redraw) {
  const label = element("label", panel, { textContent: "opacity" });
  const input = element("input", label, { type: "range", min: 0, max: 1, step: 0.01, value: model.get("opacity") });
  input.oninput = () => choose(model, "opacity", Number(input.value));
  model.on("change:opacity", () => {
    input.value = model.get("opacity");
    redraw();
  });
}

function lines(model, panel) {
  const list = element("dl", panel);
  const error = element("div", panel, { className: "error" });
  error.setAttribute("role", "alert");
  const warnings = element("div", panel);
  const fill = () => {
    list.replaceChildren();
    for (const [name, value] of model.get("said")) {
      element("dt", list, { textContent: name });
      element("dd", list, { textContent: value });
    }
    error.textContent = model.get("error");
    warnings.replaceChildren();
    for (const one of model.get("warnings")) {
      element("div", warnings, { className: "warning", textContent: `⚠ ${one}` });
    }
  };
  for (const name of ["said", "error", "warnings"]) model.on(`change:${name}`, fill);
  fill();
}

function render({ model, el }) {
  const root = element("div", el, { className: "onnxcam" });
  const left = element("div", root);
  const canvas = element("canvas", left);
  canvas.setAttribute("role", "img");
  const bar = element("div", left, { className: "bar" });
  const low = element("span", bar);
  const ramp = element("canvas", bar);
  ramp.setAttribute("aria-hidden", "true");
  const high = element("span", bar);
  const panel = element("div", root, { className: "panel" });

  let held = null;
  const redraw = () => {
    if (held === null) return;
    const drawn = blend(held.photo, held.heat, held.palette, model.get("opacity"));
    canvas.width = drawn.width;
    canvas.height = drawn.height;
    canvas.getContext("2d").putImageData(drawn, 0, 0);
  };
  let turn = 0;
  const load = async () => {
    const mine = ++turn;
    const [photo, heat] = await Promise.all([pixels(model.get("photo")), pixels(model.get("heat"))]);
    if (mine !== turn || photo.width !== heat.width || photo.height !== heat.height) return;
    held = { photo, heat, palette: bytes(model.get("palette")) };
    drawBar(ramp, held.palette);
    [low.textContent, high.textContent] = model.get("bar");
    const said = model.get("said").map((pair) => pair.join(" ")).join(", ");
    canvas.setAttribute("aria-label", `map over the picture: ${said}`);
    redraw();
  };
  for (const name of ["photo", "heat", "palette"]) model.on(`change:${name}`, load);

  targets(model, panel);
  chooser(model, panel, "layer", "layers", "layer");
  chooser(model, panel, "method", "methods", "method");
  slider(model, panel, redraw);
  lines(model, panel);
  return load();
}

export default { render };
