"""A browser and npm's packages for the tests that need them; each says in a word what is missing."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

MODULES = Path(__file__).parent / "web" / "node_modules"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
FLAGS += ["--disable-component-update", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


def executable() -> str | None:
    """Return the path of Chromium, the machine's own or ONNXCAM_CHROMIUM; None without one."""
    return os.environ.get("ONNXCAM_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium, the machine's own (or ONNXCAM_CHROMIUM), as a `playwright.sync_api.Browser`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    found = executable()
    if found is None:
        pytest.skip("no Chromium: apt-get install chromium, or set ONNXCAM_CHROMIUM")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page of 1280 × 800. Afterwards: nothing was asked of another machine, nothing went wrong unseen."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page, asked, wrong = context.new_page(), list[str](), list[str]()
    context.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page
    context.close()
    assert not [url for url in asked if not _stays(url)]
    assert not wrong


def _stays(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("file", "data", "blob", "about") or parts.hostname in ("127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def npm() -> Path:
    """The folder of npm's packages that package.json names."""
    if not (MODULES / "onnxruntime-web").is_dir() or not (MODULES / "onnxruntime-node").is_dir():
        pytest.skip("npm's packages are not there: npm install --prefix tests/web --ignore-scripts")
    return MODULES


@pytest.fixture(scope="session")
def site(npm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `onnxcam web` writes, with npm's onnxruntime-web."""
    from onnxcam.web.site import build

    return build(tmp_path_factory.mktemp("site"), runtime=npm / "onnxruntime-web")


@pytest.fixture(scope="session")
def served(site: Path) -> Iterator[str]:
    """The address at which `onnxcam serve` serves it."""
    from onnxcam.web.server import server

    with server(site) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_port}/"
        running.shutdown()
        thread.join()
