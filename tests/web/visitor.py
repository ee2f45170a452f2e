"""What a person does at the page: drops files, waits, clicks, reads."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnxcam.text import visible

PATIENCE = 30  # seconds
TYPES = {".png": "image/png", ".jpg": "image/jpeg"}

DROP = """files => {
  const given = new DataTransfer();
  for (const [name, type, base64] of files)
    given.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name, { type }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
}"""

READ = """() => {
  const heat = document.getElementById("heat");
  const context = new OffscreenCanvas(heat.width, heat.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(heat, 0, 0);
  const { data } = context.getImageData(0, 0, heat.width, heat.height);
  return { dims: [heat.height, heat.width, 4], data: BASE64(data) };
}"""
BASE64 = """((bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
})"""
"""How arrays come out of the browser: lists of numbers take seconds."""


class Visitor:
    """At the page of *url*, once it is ready."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        page.goto(url)
        self.until("onnxcam.ready")

    def until(self, words: str) -> None:
        """Wait until the expression *words* holds. The page's own rules forbid Playwright's way."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(words):
            assert time.monotonic() < end, (words, self.error)
            time.sleep(0.02)

    def drop(self, *paths: Path) -> None:
        """Drop files, and wait for the next answer: a result, a model's facts, or an error."""
        before = self.page.evaluate("({ runs: onnxcam.runs, name: onnxcam.facts?.name })")
        files = [
            (path.name, TYPES.get(path.suffix, ""), base64.b64encode(path.read_bytes()).decode()) for path in paths
        ]
        self.page.evaluate(DROP, files)
        pictures = any(path.suffix in TYPES for path in paths)
        came = (
            f"onnxcam.runs > {before['runs']}"
            if pictures
            else f"onnxcam.facts?.name === {json.dumps(visible(paths[0].name))}"
        )
        self.until(f"{came} || onnxcam.error")

    def choose(self, index: int) -> None:
        """Click a class of the list."""
        runs = self.page.evaluate("onnxcam.runs")
        self.page.click(f'#classes [data-class="{index}"]')
        self.until(f"onnxcam.runs > {runs}")

    @property
    def error(self) -> str | None:
        """What the page complains of, as it shows it."""
        shown = self.page.text_content("#error-text") if self.page.is_visible("#error") else None
        assert shown == self.page.evaluate("onnxcam.error")
        return shown

    @property
    def heatmap(self) -> np.ndarray:
        """The map that the page computed, [h, w]."""
        found = self.page.evaluate("({ ...onnxcam.result.heatmap, data: Array.from(onnxcam.result.heatmap.data) })")
        return np.array(found["data"], found["type"]).reshape(found["dims"])[0]

    @property
    def rgb(self) -> np.ndarray:
        """The image as the page gave it to the model, uint8 [h, w, 3]."""
        found = self.page.evaluate(f"({{ data: {BASE64}(onnxcam.result.input.rgb), dims: onnxcam.result.input.dims }})")
        return np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(found["dims"])

    def result(self, name: str) -> Any:
        """One value of the result."""
        found = self.page.evaluate(f"onnxcam.result.{name}")
        return list(found.values()) if isinstance(found, dict) and "0" in found else found

    @property
    def drawn(self) -> np.ndarray:
        """What lies over the image, uint8 [H, W, 4]."""
        found = self.page.evaluate(READ.replace("BASE64", BASE64))
        return np.frombuffer(base64.b64decode(found["data"]), np.uint8).reshape(found["dims"])
