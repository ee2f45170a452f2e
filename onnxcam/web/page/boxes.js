// The boxes of a baked detector: from its outputs to the picture's pixels, drawn, and found at a click.

/** Return {rank, class, score, box: [x1, y1, x2, y2] in the drawn picture} of each detection, the best first. */
export function detectionsOf({ boxes, scores, classes }, [height, width], { x0, y0, x1, y1 }) {
  const [across, down] = [(x1 - x0) / width, (y1 - y0) / height];
  return Array.from(scores, Number).flatMap((score, rank) => {
    if (!(score > 0)) return [];
    const [left, top, right, bottom] = Array.from(boxes.slice(4 * rank, 4 * rank + 4), Number);
    const box = [x0 + left * across, y0 + top * down, x0 + right * across, y0 + bottom * down];
    return [{ rank, class: Number(classes[rank]), score, box }];
  });
}

/** Return the map of detection `rank` of [1, K, h, w], as {data, dims: [h, w]}. */
export function mapOf({ data, dims }, rank) {
  const [h, w] = dims.slice(2);
  return { data: data.slice(rank * h * w, (rank + 1) * h * w), dims: [h, w] };
}

/** Return the rank of the smallest box around a point of the picture; null where there is none. */
export function rankAt(detections, x, y) {
  const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  const around = detections.filter(({ box: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2);
  return around.length ? around.reduce((a, b) => (area(b) < area(a) ? b : a)).rank : null;
}

/** Return the point of a picture, drawn as large as fits into the middle of an element, under a point of the element. */
export function pointIn({ width, height }, element, x, y) {
  const scale = Math.min(element.width / width, element.height / height);
  return [(x - (element.width - width * scale) / 2) / scale, (y - (element.height - height * scale) / 2) / scale];
}

/** Draw the boxes, that of `chosen` thicker. */
export function drawBoxes(canvas, { detections, class: chosen, width, height }) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const line = Math.max(1.5, Math.max(width, height) / 320);
  for (const { rank, box: [x1, y1, x2, y2] } of detections) {
    for (const [colour, more] of [["#000", 1.5], [rank === chosen ? "#fff" : "#bbb", 0]]) {
      context.strokeStyle = colour;
      context.lineWidth = line * (rank === chosen ? 2 : 1) + more;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  }
}
