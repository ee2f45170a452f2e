// Picture → tensor, and map → picture, as onnxcam/preprocess/transform.py and onnxcam/heatmap.py do it.

import { visible } from "./visible.js";

const GREY = 114; // what a letterbox is padded with

/** Round halves to the even neighbour, as Python does. */
function even(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 ? down + 1 : down;
}

/** Return {resized, corner, size, fill}, pairs of (vertical, horizontal), for a picture of height × width. */
export function plan(how, height, width) {
  if (how.letterbox) {
    const size = how.letterbox;
    const ratio = Math.min(size[0] / height, size[1] / width);
    const resized = [height, width].map((length) => Math.max(1, even(length * ratio)));
    const corner = resized.map((have, i) => (how.anchor === "corner" ? 0 : -Math.floor((size[i] - have) / 2)));
    return { resized, corner, size, fill: how.fill ?? GREY };
  }
  const [short, long] = [Math.min(height, width), Math.max(height, width)];
  const bounded = how.longest && how.resize * long > how.longest * short;
  const side = bounded ? Math.max(1, even((how.longest * short) / long)) : how.resize;
  const scaled = (length) => Math.max(1, Math.floor((side * length) / short));
  const resized = Number.isInteger(how.resize) ? [scaled(height), scaled(width)] : how.resize ?? [height, width];
  const size = how.crop ?? resized;
  return { resized, corner: resized.map((have, i) => even((have - size[i]) / 2)), size, fill: how.fill ?? 0 };
}

/** Return the rectangle {x0, y0, x1, y1} of the picture that the tensor shows, in the picture's pixels. */
export function frame({ resized, corner, size }, height, width) {
  const [y, x] = [height / resized[0], width / resized[1]];
  return { x0: corner[1] * x, y0: corner[0] * y, x1: (corner[1] + size[1]) * x, y1: (corner[0] + size[0]) * y };
}

const cubic = (t) => {
  const a = -0.75;
  t = Math.abs(t);
  if (t <= 1) return ((a + 2) * t - (a + 3)) * t * t + 1;
  return t < 2 ? ((a * t - 5 * a) * t + 8 * a) * t - 4 * a : 0;
};

/** Return the taps [[at, weight], …] of pixel `i` of a row of `from` pixels that becomes one of `to`. */
function tapsOf(i, from, to, how) {
  const scale = from / to;
  const clamped = (at) => Math.min(Math.max(at, 0), from - 1);
  if (how === "nearest") return [[clamped(Math.floor((i + 0.5) * scale)), 1]];
  if (how === "area" && scale > 1) {
    const [begin, end] = [i * scale, Math.min((i + 1) * scale, from)];
    const first = Math.floor(begin);
    const part = (at) => Math.min(end, at + 1) - Math.max(begin, at);
    return Array.from({ length: Math.ceil(end - 1e-9) - first }, (_, k) => [first + k, part(first + k) / (end - begin)]);
  }
  if (how === "area") { // OpenCV enlarges by areas in a way of its own
    const at = Math.floor(i * scale);
    const part = Math.max(0, i + 1 - (at + 1) / scale) % 1;
    return [[clamped(at), 1 - part], [clamped(at + 1), part]];
  }
  const centre = (i + 0.5) * scale - 0.5;
  const at = Math.floor(centre);
  if (how === "bicubic") return [-1, 0, 1, 2].map((k) => [clamped(at + k), cubic(centre - at - k)]);
  return [[clamped(at), 1 - centre + at], [clamped(at + 1), centre - at]];
}

/** Return the taps of a whole row, flat: pixel i takes those from first[i] to first[i + 1]. */
function taps(from, to, how) {
  const rows = Array.from({ length: to }, (_, i) => tapsOf(i, from, to, how));
  const first = new Int32Array(to + 1);
  rows.forEach((row, i) => { first[i + 1] = first[i] + row.length; });
  const all = rows.flat();
  return { first, at: Int32Array.from(all, ([at]) => at), weight: Float64Array.from(all, ([, weight]) => weight) };
}

/** Resize one axis after the other: uint8 [h, w, channels] → uint8 [h', w', 3]. */
function resampled(pixels, [height, width], channels, [h, w], how) {
  const across = new Float32Array(height * w * 3);
  const { first, at, weight } = taps(width, w, how);
  for (let y = 0; y < height; y++) {
    const row = y * width;
    for (let x = 0; x < w; x++) {
      let [r, g, b] = [0, 0, 0];
      for (let k = first[x]; k < first[x + 1]; k++) {
        const from = (row + at[k]) * channels;
        r += weight[k] * pixels[from];
        g += weight[k] * pixels[from + 1];
        b += weight[k] * pixels[from + 2];
      }
      const to = (y * w + x) * 3;
      across[to] = r;
      across[to + 1] = g;
      across[to + 2] = b;
    }
  }
  return down(across, taps(height, h, how), w * 3, h);
}

/** The second half of `resampled`: [height, length] → [h, length], rounded. */
function down(across, { first, at, weight }, length, h) {
  const out = new Uint8ClampedArray(h * length);
  const line = new Float64Array(length);
  for (let y = 0; y < h; y++) {
    line.fill(0);
    for (let k = first[y]; k < first[y + 1]; k++)
      for (let i = 0, from = at[k] * length; i < length; i++) line[i] += weight[k] * across[from + i];
    out.set(line, y * length);
  }
  return out;
}

/** Enlarge from two neighbours an axis, in OpenCV's fixed-point numbers: eleven bits a weight; RGB → RGB. */
function grown(pixels, [height, width], [h, w], how) {
  const fixed = (from, to) => {
    const { at, weight } = taps(from, to, how);
    return [at, Int32Array.from(weight, (each) => even(each * 2048))];
  };
  const [columns, across] = fixed(width, w);
  const [rows, along] = fixed(height, h);
  const wide = new Int32Array(height * w * 3);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < w; x++)
      for (let c = 0; c < 3; c++) {
        const pixel = (k) => across[k] * pixels[(y * width + columns[k]) * 3 + c];
        wide[(y * w + x) * 3 + c] = (pixel(2 * x) + pixel(2 * x + 1)) >> 4;
      }
  const out = new Uint8Array(h * w * 3);
  for (let y = 0, i = 0; y < h; y++)
    for (let x = 0; x < w * 3; x++, i++) {
      const line = (k) => (along[k] * wide[rows[k] * w * 3 + x]) >> 16;
      out[i] = (line(2 * y) + line(2 * y + 1) + 2) >> 2;
    }
  return out;
}

/** Shrink by averaging areas, then enlarge what grows; RGBA [H, W, 4] → RGB [h, w, 3]. */
export function resize(rgba, height, width, size, interpolation) {
  if (interpolation === "nearest") return resampled(rgba, [height, width], 4, size, "nearest");
  const small = [Math.min(height, size[0]), Math.min(width, size[1])];
  const shrunk = resampled(rgba, [height, width], 4, small, "area");
  const grows = small[0] !== size[0] || small[1] !== size[1];
  if (!grows) return shrunk;
  return interpolation === "bicubic" ? resampled(shrunk, small, 3, size, "bicubic") : grown(shrunk, small, size, interpolation);
}

/** Cut the planned window out of the resized picture; uint8 RGB [h, w, 3]. */
export function windowed(rgb, { resized, corner, size, fill }) {
  const [h, w] = size;
  const out = new Uint8Array(h * w * 3).fill(fill);
  const left = Math.max(0, -corner[1]);
  const right = Math.min(w, resized[1] - corner[1]);
  for (let y = Math.max(0, -corner[0]); y < Math.min(h, resized[0] - corner[0]); y++) {
    const from = (y + corner[0]) * resized[1] + corner[1];
    out.set(rgb.subarray((from + left) * 3, (from + right) * 3), (y * w + left) * 3);
  }
  return out;
}

const TYPES = {
  float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array,
  int16: Int16Array, int32: Int32Array, float16: globalThis.Float16Array,
};
const RANGES = { uint8: [0, 255], int8: [-128, 127], uint16: [0, 65535], int16: [-32768, 32767] };

/** Return what each of the values 0 to 255 of channel c becomes. */
function table(how, c) {
  const each = (numbers) => numbers[numbers.length > 1 ? c : 0];
  const [low, high] = how.range;
  return Float64Array.from({ length: 256 }, (_, pixel) => {
    if (how.raw) return pixel - (how.dtype === "int8" ? 128 : 0);
    const value = (pixel * ((high - low) / 255) + low - each(how.mean)) / each(how.std);
    if (!how.units) return value;
    const [least, most] = RANGES[how.dtype] ?? [-(2 ** 31), 2 ** 31 - 1];
    return Math.min(Math.max(even(value / how.units[0]) + how.units[1], least), most);
  });
}

/** Return {data, dims}: RGB [h, w, 3] as the model's own tensor, [1, C, h, w] or [1, h, w, C]. */
export function tensor(rgb, [h, w], how) {
  const Type = TYPES[how.dtype];
  if (!Type) return null;
  const channels = how.order === "gray" ? 1 : 3;
  const data = new Type(h * w * channels);
  const first = how.layout === "nchw";
  for (let c = 0; c < channels; c++) {
    const values = table(how, c);
    const from = how.order === "bgr" ? 2 - c : c;
    for (let i = 0; i < h * w; i++) {
      const at = 3 * i;
      const grey = () => (9798 * rgb[at] + 19235 * rgb[at + 1] + 3735 * rgb[at + 2] + 16384) >> 15; // OpenCV's
      data[first ? c * h * w + i : i * channels + c] = values[channels === 1 ? grey() : rgb[at + from]];
    }
  }
  return { data, dims: first ? [1, channels, h, w] : [1, h, w, channels] };
}

/** Return a map [h, w] at the picture's size as uint8 places in a colour table, 0 where the tensor shows nothing. */
export function enlarged(map, [h, w], top, { x0, y0, x1, y1 }, height, width) {
  const axis = (length, low, high, cells) => Array.from({ length }, (_, i) => {
    const seen = i + 0.5 >= low && i + 0.5 <= high;
    const place = Math.min(Math.max(((i + 0.5 - low) * cells) / (high - low) - 0.5, 0), cells - 1);
    const at = Math.min(Math.floor(place), Math.max(cells - 2, 0));
    return { seen, at, next: Math.min(at + 1, cells - 1), part: place - at };
  });
  const columns = axis(width, x0, x1, w);
  const out = new Uint8ClampedArray(height * width);
  const line = new Float32Array(w);
  axis(height, y0, y1, h).forEach(({ seen, at, next, part }, y) => {
    if (!seen) return;
    for (let x = 0; x < w; x++) line[x] = ((1 - part) * map[at * w + x] + part * map[next * w + x]) * (255 / top);
    for (let x = 0; x < width; x++) {
      const column = columns[x];
      if (column.seen) out[y * width + x] = (1 - column.part) * line[column.at] + column.part * line[column.next];
    }
  });
  return out;
}

/** Return probabilities of scores as the stamp says; null for integers of unknown meaning. */
export function probabilities(scores, { units, probabilities: kind, pair }) {
  let values = Array.from(scores, Number);
  const integers = !/Float/.test(scores.constructor.name);
  if (integers && !units) return null;
  if (units) values = values.map((value) => (value - units[1]) * units[0]);
  if (pair && values.length === 1) { // one number for the second of two classes
    const [one] = values;
    values = kind === "none" ? [1 - one, one] : [-one / 2, one / 2];
  }
  if (kind === "none") return values;
  if (kind === "exp") return values.map(Math.exp);
  if (kind === "sigmoid") return values.map((value) => 1 / (1 + Math.exp(-value)));
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

/** Return the preprocessing *how* as docs/preprocess.md writes it, and that it is a guess, with the reason. */
export function stated(how) {
  const joined = (values, mark) => (Array.isArray(values) ? values.map((each) => visible(each)).join(mark) : values);
  const [resize, crop, letterbox] = [how.resize, how.crop, how.letterbox].map((size) => joined(size, "x"));
  const parts = { resize, crop, letterbox };
  if (Object.values(parts).every((value) => value == null)) parts.resize = "none";
  Object.assign(parts, { longest: how.longest, fill: how.fill, anchor: how.anchor });
  parts.range = joined(how.range, "-");
  const plain = joined(how.mean, "/") === "0" && joined(how.std, "/") === "1";
  if (!plain) Object.assign(parts, { mean: joined(how.mean, "/"), std: joined(how.std, "/") });
  Object.assign(parts, { order: how.order, layout: how.layout });
  if (how.interpolation !== "bilinear") parts.interpolation = how.interpolation;
  const said = Object.entries(parts).filter(([, value]) => value != null);
  return said.map(([name, value]) => `${name}=${visible(value)}`).join(", ") + (how.guess ? ` (a guess: ${visible(how.guess)})` : "");
}
