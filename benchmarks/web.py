"""Measure the page against onnxruntime-web alone, in headless Chromium: ``python benchmarks/web.py [--rounds N]``.

Both run the same network on the same threads, each time in a fresh page. First: from files dropped to the map drawn,
against creating the session and running it once. Next: from another picture dropped to its map, against a run. The
network is shapes.onnx, and SqueezeNet where the real models are (ONNXCAM_REAL, or shared/real beside the checkout).
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import table
from playwright.sync_api import sync_playwright
from table import Row

import onnxcam
from onnxcam.bake.bake import bake
from onnxcam.web.server import server
from onnxcam.web.site import build

ROOT = Path(__file__).parents[1]
ASSETS = Path(onnxcam.__file__).parent / "assets"
REAL = Path(os.environ.get("ONNXCAM_REAL", ROOT / "shared" / "real"))
GOAL = 3.0
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

PLAIN = """
import * as ort from "./runtime/ort.wasm.min.mjs";
ort.env.wasm.wasmPaths = new URL("./runtime/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
self.onmessage = async ({ data: bytes }) => {
  const begin = performance.now();
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  const [{ name, shape }] = session.inputMetadata;
  const dims = shape.map((length) => (Number.isInteger(length) ? length : 1));
  const data = Float32Array.from({ length: dims.reduce((a, b) => a * b) }, Math.random);
  const run = () => session.run({ [name]: new ort.Tensor("float32", data, dims) });
  await run();
  const times = [performance.now() - begin];
  for (let i = 0; i < 10; i++) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  }
  self.postMessage(times);
};
"""
PLAIN_RUN = """base64 => new Promise((resolve, reject) => {
  const worker = new Worker("plain.js", { type: "module" });
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = reject;
  worker.postMessage(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)));
})"""
DROPPED = """async ([model, picture]) => {
  const file = (name, type, base64) =>
    new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name, { type });
  const [baked, image] = [file("baked.onnx", "", model), file("picture.png", "image/png", picture)];
  const times = [];
  for (let i = 0; i < 11; i++) {
    const given = new DataTransfer(), runs = onnxcam.runs, begin = performance.now();
    for (const each of i ? [image] : [baked, image]) given.items.add(each);
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
    while (onnxcam.runs === runs && !onnxcam.error) await new Promise((resume) => setTimeout(resume));
    if (onnxcam.error) throw new Error(onnxcam.error);
    times.push(performance.now() - begin);
  }
  return times;
}"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="fresh pages for each")
    parser.add_argument("--runtime", type=Path, help="the npm package onnxruntime-web, as for onnxcam web")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        site = build(folder, runtime=options.runtime)
        (site / "plain.js").write_text(PLAIN)
        (site / "plain.html").write_text("<!doctype html><title>plain</title>")
        with server(site) as running, sync_playwright() as driver:
            threading.Thread(target=running.serve_forever, daemon=True).start()
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            print(f"{table.machine()}, Chromium {browser.version}")
            for name, model, preprocess in networks():
                for row in measured(
                    browser, f"http://localhost:{running.server_port}", name, model, preprocess, options
                ):
                    print(table.line(row), flush=True)
            browser.close()
            running.shutdown()
    return 0


def networks() -> Iterator[tuple[str, Path, str]]:
    """Yield (name, file, preprocessing)."""
    yield "shapes.onnx", ASSETS / "shapes.onnx", "unit"
    squeezenet = REAL / "models" / "squeezenet10_dc_f32.onnx"
    if squeezenet.is_file():
        yield "SqueezeNet 1.0", squeezenet, "caffe"


def measured(browser: Any, url: str, name: str, model: Path, preprocess: str, options: Any) -> Iterator[Row]:
    """Yield the rows of one network. The two take turns."""
    plain, page = list[list[float]](), list[list[float]]()
    with tempfile.TemporaryDirectory() as folder:
        baked = bake(model, Path(folder) / "baked.onnx", target="input", inside=True, preprocess=preprocess).path
        files = [_encoded(baked), _encoded(ASSETS / "shapes_1.png")]
    for _ in range(options.rounds):
        plain.append(_in_page(browser, f"{url}/plain.html", PLAIN_RUN, _encoded(model)))
        page.append(_in_page(browser, f"{url}/", DROPPED, files))
    first = [median(times[0] for times in rounds) for rounds in (page, plain)]
    later = [median(time for times in rounds for time in times[1:]) for rounds in (page, plain)]
    yield _row("page: files dropped to first map / session and first run", name, *first, GOAL)
    yield _row("page: picture dropped to map / run", name, *later)


def _in_page(browser: Any, url: str, script: str, argument: Any) -> list[float]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    while url.endswith("/") and not page.evaluate("onnxcam.ready"):
        page.wait_for_timeout(20)
    times: list[float] = page.evaluate(script, argument)
    context.close()
    return times


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _row(what: str, name: str, ours: float, plain: float, goal: float | None = None) -> Row:
    return Row(what, name, ours / plain, "×", f"{ours:.1f} / {plain:.1f} ms", goal)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
