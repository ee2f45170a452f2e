// A baked segmentation: the class at a place of the image, and what share of the image each class covers.

const SHARES = "onnxcam.class.shares";
const CHOSEN = "onnxcam.class.chosen";
export const POINT = "onnxcam.point";

/** Return the outputs to ask for, of those that the file has. */
export const outputsOf = (outputs) => [SHARES, CHOSEN].filter((name) => name in outputs);

/** Return the numbers of `onnxcam.point`: a place, in fractions of the image, in pixels of the tensor; −1 for none. */
export function pointOf(place, { frame, width, height, size }) {
  if (!place) return Float32Array.of(-1, -1);
  const x = ((place[0] * width - frame.x0) / (frame.x1 - frame.x0)) * size[1];
  const y = ((place[1] * height - frame.y0) / (frame.y1 - frame.y0)) * size[0];
  return Float32Array.of(Math.min(Math.max(x, 0), size[1] - 0.5), Math.min(Math.max(y, 0), size[0] - 0.5));
}

/** Return the explained class, −1 for none, and the classes of the image with their shares, the largest first. */
export function told(outputs, fixed) {
  const shares = outputs[SHARES]?.data ?? null;
  const scores = shares ?? new Float32Array(0);
  const top = Array.from(scores.keys()).filter((index) => scores[index] > 0).sort((a, b) => scores[b] - scores[a] || a - b);
  return { scores, probabilities: shares, top: top.slice(0, 5), class: outputs[CHOSEN] ? Number(outputs[CHOSEN].data[0]) : fixed };
}
