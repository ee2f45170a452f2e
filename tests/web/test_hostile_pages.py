"""Names, labels and metadata that somebody else chose are text on the page and in the report, in a real browser.

The fixture `page` also asserts that nothing was asked of another machine, and that no rule of the pages was broken.
"""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxcam.bake.bake import bake
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.outcome import ModelInfo
from onnxcam.compare.report.html import html
from onnxcam.media import image
from onnxcam.metadata.reserved import BAKED
from onnxcam.text import visible
from tests.bake.baked import SHAPES, picture
from tests.compare.hostile import HOSTILE
from tests.compare.validations import PHOTO, pair, validation
from tests.web.visitor import Visitor

ODD = "photo\u202egpj.exe\x1b[31m\x00 two\nlines\u2028"
DOES = '<script>window.taken = 1</script><img src="x" onerror="window.taken = 2"><svg onload="window.taken = 3"></svg>'


def untouched(page: Any) -> bool:
    """Whether nothing ran, here or after a click on all that can be clicked, and no element came in."""
    page.evaluate("for (const link of document.querySelectorAll('a')) link.click()")
    page.wait_for_timeout(50)
    handlers = """[...document.querySelectorAll('*')].some((each) =>
      each.getAttributeNames().some((name) => name.startsWith("on")) || /^javascript:/i.test(each.href ?? each.src))"""
    return page.evaluate("window.taken") is None and not page.evaluate(handlers)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_the_report_of_hostile_names(name: str, page: Any, tmp_path: Path) -> None:
    made = validation(
        [pair(PHOTO, notes=[name]), pair(name, 0.3, notes=[name])],
        reference=ModelInfo(name, "0" * 64, name, name, name, name, name),
        candidate=ModelInfo("other" + name, "1" * 64, name, name, name, name, name),
        labels=[name, name],
        warnings=[name],
        unreadable=[(name, name)],
        levels=[
            LayerAgreement(name, name, "1×1", 0.9, 0.9, 0.9),
            LayerAgreement(name + "2", name, "1×1", 0.1, 0.1, 0.1),
        ],
    )
    (tmp_path / "report.html").write_text(html(made), "utf-8")
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("#all tbody tr").count() == 2
    assert page.title().startswith("Passed: ")
    assert untouched(page)
    assert page.locator("img:not([src^='data:image/'])").count() == 0
    assert page.locator("script").count() == 2
    assert visible(name) in page.locator("#all tbody").inner_text()


def test_the_reports_policy_would_stop_what_came_in(browser: Any, tmp_path: Path) -> None:
    text = html(validation([pair(PHOTO)]))
    assert "</main>" in text
    (tmp_path / "report.html").write_text(text.replace("</main>", f"{DOES}</main>"), "utf-8")
    assert stopped(browser, (tmp_path / "report.html").as_uri())


def stopped(browser: Any, url: str) -> bool:
    """Whether the page at *url*, into which `DOES` was put, let none of it run, and asked nobody for its image."""
    with browser.new_context() as context:
        page, broken = context.new_page(), list[str]()
        page.on("console", lambda said: broken.append(said.text))
        page.goto(url)
        page.wait_for_timeout(200)
        assert page.locator("svg[onload]").count() == 1
        return page.evaluate("window.taken") is None and any("Content Security Policy" in each for each in broken)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.png"
    image.write(path, picture())
    return path


@pytest.fixture
def visitor(page: Any, served: str) -> Visitor:
    return Visitor(page, served)


TEXTS = [name for key, name in HOSTILE.items() if key != "surrogate"]
"""What can be sent to the browser."""


@pytest.mark.parametrize("first", range(0, len(TEXTS), 6))
def test_the_page_with_hostile_labels(first: int, visitor: Visitor, small: Path, tmp_path: Path) -> None:
    labels = TEXTS[first : first + 6]
    made = bake(SHAPES, tmp_path / "baked.onnx", target="input", inside=True, labels=labels)
    visitor.drop(made.path, small)
    assert visitor.error is None
    visitor.choose(visitor.result("top")[1])
    visitor.page.fill("#other-class", f"{labels[0]} or none")
    visitor.page.keyboard.press("Enter")
    visitor.until("onnxcam.error")
    assert untouched(visitor.page)
    assert visitor.page.title() == "onnxcam"
    assert visitor.page.locator("main img").count() == 0
    shown = visitor.page.locator("#classes .name").all_text_contents()
    assert set(shown) <= {visible(label) for label in labels}
    assert set(visitor.page.evaluate("onnxcam.facts.labels")) == {visible(label) for label in labels}


DROP = """([name, url]) => fetch(url).then((answer) => answer.blob()).then((blob) => {
  const given = new DataTransfer();
  given.items.add(new File([blob], name, { type: name.endsWith("png") ? "image/png" : "" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
})"""


def test_the_page_with_hostile_names_of_files(visitor: Visitor) -> None:
    page = visitor.page
    for name in (*TEXTS, ODD):
        page.evaluate(DROP, [f"{name}.onnx", "example.onnx"])
        visitor.until(f"onnxcam.facts?.name === {json.dumps(visible(f'{name}.onnx'))}")
        page.evaluate(DROP, [f"{name}.png", "example.png"])
        visitor.until(f"onnxcam.result?.name === {json.dumps(visible(f'{name}.png'))}")
        assert visible(f"{name}.onnx") in page.text_content("#facts")
        with page.expect_download() as saved:
            page.click("#download")
        assert "\u202e" not in saved.value.suggested_filename
        page.evaluate(DROP, [f"{name}.txt", "site.json"])
        visitor.until("onnxcam.error")
        assert visitor.error is not None
        assert visitor.error.startswith(f"{visible(name + '.txt')} is neither an .onnx file nor an image")
        assert untouched(page)
        assert page.title() == "onnxcam"


def stamped(path: Path, card: Any = None, **changes: Any) -> Path:
    """A baked model whose stamp says something else."""
    bake(SHAPES, path, inside=True)
    model = onnx.load(path)
    told = {entry.key: entry.value for entry in model.metadata_props}
    told[BAKED] = json.dumps(json.loads(told[BAKED]) | changes)
    told["onnxcam"] = json.dumps(card)
    onnx.helper.set_model_props(model, told)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("card", [None, 7, "labels", [], {"labels": {"length": 3}}, {"labels": 3}, {"labels": "abc"}])
def test_labels_that_are_no_list_are_passed_over(card: Any, visitor: Visitor, small: Path, tmp_path: Path) -> None:
    visitor.drop(stamped(tmp_path / "baked.onnx", card), small)
    assert visitor.error is None
    assert visitor.page.text_content("#classes li:first-child .name").startswith("class ")


def test_labels_that_are_no_text_and_metadata_are_text(visitor: Visitor, small: Path, tmp_path: Path) -> None:
    labels = [None, {"toString": 1}, 7, ["<b>"], "\u202e", DOES]
    visitor.drop(stamped(tmp_path / "baked.onnx", {"labels": labels}, method=DOES + ODD, layer={"a": DOES}), small)
    assert visitor.error is None
    assert visible(DOES + ODD) in visitor.page.text_content("#facts")
    assert untouched(visitor.page)


def test_a_preprocessing_that_is_no_number_is_text(visitor: Visitor, tmp_path: Path) -> None:
    how = {"resize": {"toString": 1}, "crop": [224, 224], "mean": [{"toString": 1}], "guess": ["<b>"]}
    visitor.drop(stamped(tmp_path / "baked.onnx", picture=how))
    assert 'resize={"toString":1}, crop=224x224, mean={"toString":1}' in visitor.page.text_content("#facts")
    assert untouched(visitor.page)


@pytest.mark.parametrize("size", [[2**20, 2**20], [0, 0], [-1, 5], ["<b>", 3], [1e300, 1]])
def test_sizes_that_no_browser_holds(size: list[Any], visitor: Visitor, small: Path, tmp_path: Path) -> None:
    made = stamped(tmp_path / "baked.onnx")
    how = json.loads({entry.key: entry.value for entry in onnx.load(made).metadata_props}[BAKED])["picture"]
    visitor.drop(stamped(made, picture=how | {"resize": size, "crop": None}), small)
    assert visitor.error is not None
    assert visitor.error.startswith("small.png cannot be given to baked.onnx: it would become ")


@pytest.fixture
def anywhere(site: Path, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Serve the page with `DOES` in it by a server that has no rules."""
    folder = shutil.copytree(site, tmp_path / "site")
    text = (folder / "index.html").read_text("utf-8")
    (folder / "index.html").write_text(text.replace("</main>", f"{DOES}</main>"), "utf-8")

    class Plain(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Plain, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://localhost:{running.server_port}/"
        running.shutdown()
        thread.join()


def test_the_pages_own_policy_would_stop_what_came_in(browser: Any, anywhere: str) -> None:
    assert stopped(browser, anywhere)


@pytest.mark.skipif(sys.platform == "win32", reason="file systems there take no such names")
def test_a_site_of_a_model_with_a_hostile_name(page: Any, npm: Path, tmp_path: Path) -> None:
    from onnxcam.web.server import server
    from onnxcam.web.site import build

    name = '<img src=x onerror=window.taken=1>"\u202e\n.onnx'
    made = bake(SHAPES, tmp_path / name, inside=True)
    folder = build(tmp_path / "site", model=made.path, runtime=npm / "onnxruntime-web")
    with server(folder) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        visitor = Visitor(page, f"http://localhost:{running.server_port}/")
        assert visible(name) in page.text_content("#facts")
        assert visitor.error is None
        assert untouched(page)
        running.shutdown()
        thread.join()
