"""WebGPU: the map is Python's, on SwiftShader, a WebGPU of the CPU; the page tells which engine runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcam.bake.bake import bake
from onnxcam.media import image
from onnxcam.web.server import server
from onnxcam.web.site import build
from tests.bake.baked import SHAPES, in_python, picture
from tests.browser import executable
from tests.web.visitor import Visitor

ON_CPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
ON_CPU += ["--use-vulkan=swiftshader", "--no-sandbox"]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    image.write(tmp_path / "small.png", picture())
    return [bake(SHAPES, tmp_path / "baked.onnx", target="input", inside=True).path, tmp_path / "small.png"]


@pytest.fixture(scope="module")
def address(npm: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a site with WebGPU is served."""
    folder = build(tmp_path_factory.mktemp("webgpu"), runtime=npm / "onnxruntime-web", webgpu=True)
    with server(folder) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_the_map_on_webgpu_is_that_of_python(browser: Any, address: str, files: list[Path]) -> None:
    with browser.browser_type.launch(executable_path=executable(), args=ON_CPU) as chromium:
        page = chromium.new_page()
        page.goto(address)
        if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no WebGPU, also not SwiftShader's")
        visitor = Visitor(page, address)
        visitor.drop(*files)
        assert visitor.error is None
        assert "WebGPU" in page.text_content("#facts")
        assert page.evaluate("onnxcam.facts.engine") == "WebGPU"
        np.testing.assert_allclose(visitor.heatmap, in_python(files[0], picture()[None], -1)[0], atol=1e-4)


def test_a_browser_without_webgpu_says_so(page: Any, address: str, files: list[Path]) -> None:
    visitor = Visitor(page, address)
    visitor.drop(*files)
    assert visitor.page.evaluate("onnxcam.facts.engine").endswith("; this browser has no WebGPU")
    np.testing.assert_allclose(visitor.heatmap, in_python(files[0], picture()[None], -1)[0], atol=1e-4)
