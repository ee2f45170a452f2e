"""onnxruntime-web alone, without the page: tensors in, tensors out."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import numpy as np

WORKER = """
import * as ort from "./runtime/ort.wasm.min.mjs";
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
ort.env.wasm.numThreads = 1;
const types = { int8: Int8Array, uint8: Uint8Array, float32: Float32Array, int64: BigInt64Array };
self.onmessage = async ({ data: [model, given] }) => {
  try {
    const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
    const feeds = {};
    for (const [name, type, dims, data] of given)
      feeds[name] = new ort.Tensor(type, new types[type](data.buffer), dims);
    const made = Object.entries(await session.run(feeds));
    const bytes = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);
    self.postMessage({ made: made.map(([name, { type, dims, data }]) => [name, type, dims, bytes(data)]) });
  } catch (error) {
    self.postMessage({ error: String(error) });
  }
};
"""

RUN = """async ([model, given]) => {
  const bytes = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const base64 = (array) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob([array]));
  });
  const worker = new Worker("plain.js", { type: "module" });
  const answer = await new Promise((resolve, reject) => {
    [worker.onmessage, worker.onerror] = [({ data }) => resolve(data), reject];
    worker.postMessage([bytes(model), given.map(([name, type, dims, data]) => [name, type, dims, bytes(data)])]);
  });
  worker.terminate();
  if (answer.error) throw new Error(answer.error);
  return Promise.all(answer.made.map(async ([name, type, dims, data]) => [name, type, dims, await base64(data)]));
}"""


def prepare(site: Path, folder: Path) -> Path:
    """Write a folder to serve, with the runtime of *site* and an empty page."""
    shutil.copytree(site / "runtime", folder / "runtime")
    shutil.copy(site / "icon.svg", folder)
    (folder / "plain.js").write_text(WORKER)
    (folder / "index.html").write_text('<!doctype html><title>plain</title><link rel="icon" href="icon.svg">')
    return folder


def run(page: Any, model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run *model* once in *page*, which shows a folder that `prepare` wrote; return all outputs."""
    given = [(name, x.dtype.name, list(x.shape), _encoded(x.tobytes())) for name, x in feeds.items()]
    made = page.evaluate(RUN, [_encoded(model), given])
    return {name: np.frombuffer(base64.b64decode(data), kind).reshape(dims) for name, kind, dims, data in made}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
