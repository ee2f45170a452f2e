"""Photograph pages for docs/images, in a headless Chromium: `python -m tools.screenshots [REAL]`.

The browser page needs npm's packages (`npm install --prefix tests/web --ignore-scripts`). REAL is as for
`tools.pictures`, which takes these pictures too; without it those of the worked case stay as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from threading import Thread
from typing import Any

import onnx
from playwright.sync_api import Browser, sync_playwright

from onnxcam.bake.bake import bake
from onnxcam.bake.dequantise import dequantise
from onnxcam.graph import io as graph
from onnxcam.web.server import server
from onnxcam.web.site import build
from tests.browser import FLAGS, MODULES, executable
from tests.compare.twins import photos, quantize
from tests.diagnosis.models import respell
from tests.web.visitor import Visitor

ROOT = Path(__file__).parents[1]
IMAGES, ASSETS = ROOT / "docs" / "images", ROOT / "onnxcam" / "assets"
MARGIN = 16  # pixels around a part of a page
SHAPES, SCENE = ASSETS / "shapes.onnx", ASSETS / "shapes_1.png"


def _page(
    name: str, browser: Browser, size: tuple[int, int], act: Callable[[Visitor], Any], model: Path | None
) -> None:
    """Photograph the browser page with *model* after *act*."""
    with tempfile.TemporaryDirectory() as folder:
        site = build(Path(folder) / "site", model=model, runtime=MODULES / "onnxruntime-web")
        with server(site) as running:
            Thread(target=running.serve_forever, daemon=True).start()
            page = browser.new_page(viewport={"width": size[0], "height": size[1]})
            act(Visitor(page, f"http://localhost:{running.server_port}/"))
            page.mouse.move(0, 0)
            _shoot(name, page)
            running.shutdown()


def web(browser: Browser) -> None:
    """Photograph the page with its example: the classes, and the map of the cross."""

    def act(visitor: Visitor) -> None:
        visitor.page.click("#example")
        visitor.until("onnxcam.runs > 0")
        visitor.choose(4)

    _page("web.png", browser, (940, 800), act, None)


def web_detector(browser: Browser) -> None:
    """Photograph the page with a detector: boxes, and the map of the chosen one."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "detector.onnx"
        bake(ROOT / "models" / "detector.onnx", model, count=4)
        _page("web-detector.jpg", browser, (1100, 760), lambda visitor: visitor.drop(SCENE), model)


def diagnose(browser: Browser) -> None:
    """Photograph the report of a network one of whose ranges was divided by 12."""
    int8 = quantize(SHAPES, Path("int8.onnx"), photos(Path("photos"), 4), per_channel=True)
    inner = [node.input[0] for node in onnx.load(int8).graph.node if node.op_type == "QuantizeLinear"]
    respell(int8, Path("spoilt.onnx"), inner[4], 1 / 12)
    _run("diagnose", SHAPES, "spoilt.onnx", "photos", "-o", "why")
    page = browser.new_page(viewport={"width": 800, "height": 1200})
    page.goto(Path("why/diagnosis.html").resolve().as_uri())
    _shoot("diagnose.png", page)


def detectors(browser: Browser) -> None:
    """Photograph the worst images of docs/worked-case-detector.md, whose code makes the networks."""
    text = (ROOT / "docs" / "worked-case-detector.md").read_text("utf-8")
    os.symlink(ROOT / "models", "models")
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:1]
    exec(compile(code, "worked-case-detector.md", "exec"), {})
    _run("validate", "models/detector.onnx", "noise.onnx", "images", "-o", "noise")
    page = browser.new_page(viewport={"width": 912, "height": 692})
    page.goto(Path("noise/report.html").resolve().as_uri())
    _shoot("validate-detector.jpg", page, "#picture-1")


def classifiers(browser: Browser, real: Path) -> None:
    """Photograph the report of docs/worked-case.md: verdict, spread, worst image."""
    int8 = real / "models" / "mobilenet_v2_224_qdq_nchw_int8.onnx"
    graph.save(dequantise(int8), "mobilenet_v2_twin.onnx")
    how = ["--preprocess", "imagenet", "--labels", real / "labels" / "imagenet1000.txt"]
    _run("validate", "mobilenet_v2_twin.onnx", int8, f"{real}/images/*.*", *how, "-o", "mobilenet")
    page = browser.new_page(viewport={"width": 1000, "height": 381})
    page.goto(Path("mobilenet/report.html").resolve().as_uri())
    _shoot("validate-verdict.png", page)
    _shoot("validate-spread.png", page, "section[aria-labelledby=h-spread]")
    _shoot("validate-worst.jpg", page, "#picture-1")


def _run(*words: object) -> None:
    """Run a command; it may find the models different."""
    program = [sys.executable, "-c", "from onnxcam.cli import main; main()", *map(str, words)]
    if subprocess.run(program).returncode not in (0, 1):
        raise SystemExit(f"failed: {words}")


def _shoot(name: str, page: Any, part: str | None = None) -> None:
    """Write the picture of *page*, or of a *part* of it."""
    options = {"type": "jpeg", "quality": 85} if name.endswith(".jpg") else {"type": "png"}
    if part is not None:
        box = page.locator(part).first.bounding_box()
        sides = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN}
        sides |= {"width": box["width"] + 2 * MARGIN, "height": box["height"] + 2 * MARGIN}
        options |= {"clip": sides, "full_page": True}
    (IMAGES / name).write_bytes(page.screenshot(**options))
    print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB", flush=True)


def main(real: Path | None) -> None:
    """Take all pictures."""
    work = Path(tempfile.mkdtemp())
    try:
        with sync_playwright() as driver, chdir(work):
            browser = driver.chromium.launch(executable_path=executable(), args=FLAGS)
            for take in (web, web_detector, diagnose, detectors):
                take(browser)
            if real is not None:
                classifiers(browser, real)
            browser.close()
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None)
