// What a baked model says of itself: its metadata, read from the file's bytes, which onnxruntime-web does not show.

import { visible } from "./visible.js";

export class Refused extends Error {} // a message for the person at the page

const text = new TextDecoder();

/** Yield [field, bytes] of the length-delimited fields of a protobuf message; skip the others. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++];
      if (byte === undefined || shift > 2 ** 49) throw new RangeError("no protobuf");
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new RangeError("cut off");
      yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
      at += length;
    } else throw new RangeError("no protobuf");
  }
}

/** Return the metadata of an ONNX file, its ModelProto's field 14: {key: value}. */
function metadata(bytes) {
  const found = {};
  let hasGraph = false;
  for (const [field, value] of fields(bytes)) {
    if (field === 7) hasGraph = true;
    if (field !== 14) continue;
    const entry = Object.fromEntries(fields(value));
    found[text.decode(entry[1])] = text.decode(entry[2] ?? new Uint8Array());
  }
  if (!hasGraph) throw new RangeError("no graph");
  return found;
}

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

/** Return the stamp that `onnxcam bake` wrote into the file, with the labels of its card. */
export function read(bytes, name) {
  let found;
  try {
    found = metadata(bytes);
  } catch (error) {
    if (error instanceof RangeError) throw new Refused(`${name} is not an ONNX model, or is cut off; copy it again`);
    throw error;
  }
  const told = found["onnxcam.baked"];
  if (told === undefined)
    throw new Refused(`${name} is not baked: run  onnxcam bake ${name} -o explained.onnx --target input`);
  const stamp = parsed(told);
  if (stamp?.schema !== 1) throw new Refused(`${name} was baked by another version of onnxcam; bake it again`);
  const labels = parsed(found.onnxcam ?? "null")?.labels;
  return { ...stamp, labels: Array.isArray(labels) ? labels.map((label) => visible(label)) : null };
}
