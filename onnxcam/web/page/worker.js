// The model runs here, beside the page: one message in, one answer out, in order.
//
//   open    {file | url, name}         → {facts}
//   explain {picture: Blob | ImageBitmap, name, class, place} → the result
//   again   {class, place}             → the result for the same picture
//
// Of a detector, `class` is the number of a detection, counted from 0, the best first.

import { Refused, read } from "./baked.js";
import { detectionsOf, mapOf } from "./boxes.js";
import { enlarged, frame, plan, probabilities, resize, stated, tensor, windowed } from "./picture.js";
import * as segments from "./segments.js";
import { visible } from "./visible.js";

const { webgpu } = await (await fetch("site.json")).json(); // whether the site has that build
const gpu = webgpu ? await navigator.gpu?.requestAdapter().catch(() => null) : null;
const ort = await import(`./runtime/ort.${gpu ? "webgpu" : "wasm"}.min.mjs`);

const MODEL_BYTES = 2 ** 30;
const PICTURE_BYTES = 2 ** 26;
const PIXELS = 2 ** 26;
const SHOWN = 1600; // the longer side of what is drawn

ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
ort.env.logLevel = "error";

let model = null; // {session, stamp, facts}
let shown = null; // the picture: {feed, frame, width, height}, and a detector's outputs
const BOXES = ["onnxcam.boxes", "onnxcam.scores", "onnxcam.classes"];

const megabytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MB`;
const holds = ([h, w]) => Number.isInteger(h) && Number.isInteger(w) && h > 0 && w > 0 && h * w <= PIXELS;
const firstLine = (error) => String(error?.message ?? error).split("\n")[0].trim();

async function open({ file, url, name }) {
  if (file && file.size > MODEL_BYTES)
    throw new Refused(`${name} has ${megabytes(file.size)}; a browser holds models up to ${megabytes(MODEL_BYTES)}`);
  const source = file ?? (await fetch(url));
  if (source.ok === false) throw new Refused(`${name} is not on the server any more; reload the page`);
  const bytes = new Uint8Array(await source.arrayBuffer());
  const stamp = read(bytes, name);
  const started = performance.now();
  let made;
  try {
    made = await sessionOf(bytes);
  } catch (error) {
    const why = firstLine(error).replace(/^.*ERROR_MESSAGE: (Fatal error: )?/, "");
    throw new Refused(`${name} cannot run in a browser: ${why}; see  onnxcam inspect ${name} --for web`);
  }
  const loaded = performance.now() - started;
  await model?.session.release();
  const { session, engine } = made;
  model = { session, stamp, facts: { ...facts(session, stamp, bytes.length, loaded, name), engine } };
  shown = null;
  return { facts: model.facts };
}

/** Return a session, and the engine that runs it in words: WebGPU where there is one that takes the model. */
async function sessionOf(bytes) {
  const { numThreads } = ort.env.wasm;
  const wasm = `WebAssembly, ${numThreads} thread${numThreads > 1 ? "s" : ""}`;
  let why = webgpu && !gpu ? "; this browser has no WebGPU" : "";
  if (gpu) {
    try {
      const session = await ort.InferenceSession.create(bytes, { executionProviders: ["webgpu"] });
      return { session, engine: "WebGPU" };
    } catch (error) {
      why = `; WebGPU does not take this model: ${visible(firstLine(error))}`;
    }
  }
  return { session: await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }), engine: wasm + why };
}

function facts(session, stamp, bytes, loaded, name) {
  const inputs = Object.fromEntries(session.inputMetadata.map((value) => [value.name, value]));
  const outputs = Object.fromEntries(session.outputMetadata.map((value) => [value.name, value]));
  const takesClass = "onnxcam.class" in inputs;
  const detects = Boolean(stamp.detections);
  const heatmap = outputs[stamp.names?.heatmap ?? "heatmap"];
  const picture = inputs[stamp.names?.picture ?? "picture"];
  const asks = session.inputNames.filter((each) => each.startsWith("onnxcam.") && each !== picture?.name);
  const pictures = session.inputNames.filter((each) => !asks.includes(each));
  const inside = picture?.type === "uint8" && picture.shape[3] === 3;
  const lacksScores = stamp.scores ? !outputs[stamp.scores.name] : [undefined, "multi-class"].includes(stamp.task);
  if (!heatmap || lacksScores || (detects && !BOXES.every((each) => outputs[each])))
    throw new Refused(`${name} lacks the output 'heatmap' or its scores; bake it again`);
  const known = ["onnxcam.class", segments.POINT, ...(detects ? ["onnxcam.threshold"] : [])];
  const unknown = asks.find((each) => !known.includes(each));
  if (unknown || inputs[segments.POINT]?.shape[1] > 2 || heatmap.shape.length !== (detects ? 4 : 3))
    throw new Refused(`${name} ${unknown ? `asks for ${visible(unknown)}` : "has several maps"}, which this page cannot give or show; bake it with --target top`);
  if (pictures.length !== 1)
    throw new Refused(`${name} takes ${pictures.join(", ")}; this page has only an image to give`);
  if (!stamp.picture)
    throw new Refused(`${name} does not say how an image becomes its tensor; bake it again with --preprocess`);
  const count = inputs[pictures[0]].shape[0];
  if (Number.isInteger(count) && count > 1)
    throw new Refused(`${name} takes ${count} images at once; export the model for one and bake that`);
  return {
    name, bytes, loaded, takesClass: takesClass || detects, detects, inside, input: pictures[0], labels: stamp.labels, method: visible(stamp.method),
    layer: stamp.layer ? visible(stamp.layer) : stamp.layer, fixed: stamp.class >= 0 ? stamp.class ?? null : null,
    takesPlace: segments.POINT in inputs, outputs: [heatmap.name, ...(detects ? BOXES : stamp.scores ? [stamp.scores.name] : segments.outputsOf(outputs))],
    heatmap: heatmap.type, dtype: inputs[pictures[0]].type, threads: ort.env.wasm.numThreads,
    preprocessing: stated(stamp.picture), onnxcam: stamp.onnxcam, runtime: ort.env.versions?.web ?? "",
  };
}

/** Decode, lay over white as onnxcam does, and keep what the model takes of it. */
async function look({ picture, name }) {
  if (picture.size > PICTURE_BYTES)
    throw new Refused(`${name} has ${megabytes(picture.size)}; give an image below ${megabytes(PICTURE_BYTES)}`);
  let bitmap = picture;
  if (picture instanceof Blob) {
    try {
      bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none" });
    } catch {
      throw new Refused(`${name} is no image that this browser can read; give a PNG, JPEG or WebP file`);
    }
  }
  const { width, height } = bitmap;
  if (width * height > PIXELS)
    throw new Refused(`${name} has ${width} × ${height} pixels; scale it below ${Math.round(PIXELS / 1e6)} megapixels`);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, alpha: false });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const how = model.stamp.picture;
  const planned = plan(how, height, width);
  if (![planned.resized, planned.size].every(holds))
    throw new Refused(`${name} cannot be given to ${model.facts.name}: it would become ${planned.resized.join(" × ")} pixels`);
  const rgba = context.getImageData(0, 0, width, height).data;
  const rgb = windowed(resize(rgba, height, width, planned.resized, how.interpolation), planned);
  const made = model.facts.inside ? { data: rgb, dims: [1, ...planned.size, 3] } : tensor(rgb, planned.size, how);
  if (!made)
    throw new Refused(`this browser has no numbers of type ${how.dtype}; bake the model with --preprocess-inside`);
  shown = { made, frame: frame(planned, height, width), width, height, rgb, size: planned.size };
  return context.canvas;
}

/** Return the picture at the size at which it is drawn, as a bitmap to give away. */
function drawn(canvas) {
  const scale = Math.min(1, SHOWN / Math.max(canvas.width, canvas.height));
  if (scale === 1) return canvas.transferToImageBitmap();
  const small = new OffscreenCanvas(Math.max(1, canvas.width * scale), Math.max(1, canvas.height * scale));
  const context = small.getContext("2d", { alpha: false });
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, small.width, small.height);
  return small.transferToImageBitmap();
}

async function explain(asked) {
  if (!model) throw new Refused("there is no model yet; drop a baked model");
  const started = performance.now();
  const canvas = asked.picture ? await look(asked) : null;
  if (!shown) throw new Refused("there is no image yet; drop one");
  const prepared = performance.now();
  const { facts, stamp, session } = model;
  const feeds = { [facts.input]: new ort.Tensor(facts.dtype, shown.made.data, shown.made.dims) };
  const wanted = facts.takesClass ? asked.class ?? -1 : null;
  if (facts.detects) Object.assign(feeds, thresholdOf(session, stamp));
  else if (wanted !== null) feeds["onnxcam.class"] = new ort.Tensor("int64", BigInt64Array.of(BigInt(wanted)), [1]);
  if (facts.takesPlace) feeds[segments.POINT] = new ort.Tensor("float32", segments.pointOf(asked.place, shown), [1, 2]);
  let outputs;
  try {
    outputs = shown.outputs ?? (await session.run(feeds, facts.outputs));
    if (facts.detects) shown.outputs = outputs;
  } catch (error) {
    throw new Refused(`${facts.name} failed on this image: ${firstLine(error)}`);
  }
  const ran = performance.now();
  const bitmap = canvas && drawn(canvas);
  const answer = facts.detects ? seen(outputs, wanted, bitmap) : told(outputs, wanted, bitmap);
  answer.milliseconds = { prepare: prepared - started, run: ran - prepared, draw: performance.now() - ran };
  return [answer, bitmap ? [bitmap, answer.places.buffer] : [answer.places.buffer]];
}

/** Return the feed of a threshold at run time: its default. */
function thresholdOf(session, stamp) {
  const name = "onnxcam.threshold";
  if (!session.inputNames.includes(name)) return {};
  return { [name]: new ort.Tensor("float32", Float32Array.from(stamp.inputs[name]), [1]) };
}

/** Return the size at which the picture is drawn, and the part of it that the tensor shows. */
function drawnFrame() {
  const scale = Math.min(1, SHOWN / Math.max(shown.width, shown.height));
  const [width, height] = [shown.width, shown.height].map((length) => Math.max(1, Math.trunc(length * scale)));
  const part = Object.fromEntries(Object.entries(shown.frame).map(([key, value]) =>
    [key, value * (key[0] === "x" ? width / shown.width : height / shown.height)]));
  return { width, height, part };
}

/** The answer of a detector: all detections, and the map of one. */
function seen(outputs, wanted, bitmap) {
  const heatmap = outputs[model.facts.outputs[0]];
  const { width, height, part } = drawnFrame();
  const [boxes, scores, classes] = BOXES.map((name) => outputs[name].data);
  const detections = detectionsOf({ boxes, scores, classes }, shown.size, part);
  const rank = Math.max(0, Math.min(wanted, detections.length - 1));
  const map = mapOf(heatmap, rank);
  return {
    heatmap: { data: map.data, dims: [1, ...map.dims], type: heatmap.type }, detections,
    scores: detections.map(({ score }) => score), probabilities: detections.map(({ score }) => score),
    top: detections.map((each) => each.rank), class: detections.length ? rank : null,
    input: { rgb: shown.rgb, dims: [...shown.size, 3] },
    blank: !map.data.some((value) => value > 0),
    picture: bitmap, width, height,
    places: enlarged(map.data, map.dims, heatmap.type === "uint8" ? 255 : 1, part, height, width),
  };
}

/** Return the explained class, and the best classes with their scores. */
function classes(outputs, wanted) {
  const { stamp, facts } = model;
  if (!stamp.scores) return segments.told(outputs, facts.fixed);
  const { data } = outputs[stamp.scores.name];
  const means = probabilities(data, stamp.scores);
  const scores = stamp.scores.pair && means ? means : data;
  const order = Array.from(scores.keys()).sort((a, b) => Number(scores[b]) - Number(scores[a]) || a - b);
  const chosen = facts.fixed ?? (wanted !== null && wanted >= 0 ? wanted : order[0]);
  return { scores, probabilities: means, top: order.slice(0, 5), class: chosen };
}

function told(outputs, wanted, bitmap) {
  const heatmap = outputs[model.facts.outputs[0]];
  const { width, height, part } = drawnFrame();
  const top = heatmap.type === "uint8" ? 255 : 1;
  return {
    heatmap: { data: heatmap.data, dims: heatmap.dims, type: heatmap.type },
    ...classes(outputs, wanted),
    input: { rgb: shown.rgb, dims: [...shown.size, 3] },
    blank: !heatmap.data.some((value) => value > 0),
    picture: bitmap, width, height,
    places: enlarged(heatmap.data, heatmap.dims.slice(1), top, part, height, width),
  };
}

const kinds = {
  open: async (asked) => [await open(asked), []],
  explain,
  again: explain,
};

let turn = Promise.resolve(); // one after the other
self.onmessage = ({ data: { id, kind, ...asked } }) => {
  turn = turn.then(async () => {
    try {
      const [answer, given] = await kinds[kind](asked);
      self.postMessage({ id, answer }, given);
    } catch (error) {
      self.postMessage({ id, refused: error instanceof Refused, error: firstLine(error) });
    }
  });
};
self.postMessage({ ready: true });
