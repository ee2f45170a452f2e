"""The HTML report: what it says, that it holds all it shows, and that no name is taken for markup."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxcam
from onnxcam.compare.layer_agreement import LayerAgreement
from onnxcam.compare.report import ranking
from onnxcam.compare.report.histogram import WIDTH, histogram
from onnxcam.compare.report.html import html
from onnxcam.compare.report.panel import SIDE, panel
from onnxcam.compare.report.table import ROWS, result_table
from onnxcam.errors import MetricError, OutputError
from onnxcam.media import image
from onnxcam.text import visible
from tests.compare.hostile import HOSTILE
from tests.compare.validations import PHOTO, SIDES, blob, pair, validation

pytest.importorskip("jinja2", reason="no Jinja: pip install 'onnxcam[edge]'")

ASSETS = Path(onnxcam.__file__).parent / "assets"


class Tags(HTMLParser):
    """What a parser makes of a page: its elements, and the text of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.stack: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.text.setdefault(self.stack[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def rows(page: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


def test_the_verdict_and_every_number_are_told() -> None:
    pairs = [pair(PHOTO, 0.1), pair("b.png", 0.7), pair("c.png", 0.3)]
    page = html(validation(pairs, required=("iou >= 0.7", "peak <= 0.5")))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.replace("<wbr>", "")))
    assert page.startswith("<!doctype html>")
    assert "✗ Failed 1 of 2 requirements does not hold on 3 images." in text
    assert re.search(r"IoU of the top 20 % of the maps iou &gt;= 0.7 0.633 0.623 – 0.643 ✗ fails", text)
    assert re.search(r"Distance of the peaks peak &lt;= 0.5 0.183 0.173 – 0.193 ✓ holds", text)
    for side in SIDES:
        for told in (side.name, side.sha256, side.kind, side.method, side.layer, side.preprocess, side.provider):
            assert str(told) in text
    assert "✓ Passed All 2 requirements hold on 3 images." in re.sub(
        r"\s+", " ", re.sub(r"<[^>]*>", " ", html(validation(pairs, required=("iou >= 0.6", "peak <= 0.5"))))
    )


def test_where_the_two_begin_to_look_elsewhere() -> None:
    levels = [
        LayerAgreement("conv_1", "conv_1", "32×32", 0.99, 0.95, 0.91),
        LayerAgreement("conv_2", "conv_2<b>", "16×16", 0.4, 0.2, 0.1),
    ]
    page = html(validation([pair("a.png")], levels=levels))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert (
        "they begin to differ at conv_2 (candidate: conv_2&lt;b&gt;): the cosine of the activations is 0.400, after "
        "0.990 at conv_1; check the operators between these two layers ." in text
    )
    assert "conv_1 32×32 0.990 0.950 0.910 conv_2 and conv_2&lt;b&gt; 16×16 0.400 0.200 0.100" in text
    assert page.count('class="number bad"') == 2
    assert "Agreement by layer" not in html(validation([pair("a.png")]))


def test_nothing_required_nothing_failed() -> None:
    assert "Nothing was required of 1 image." in html(validation([pair(PHOTO)], required=()))


def test_where_all_images_are_alike_none_is_the_worst() -> None:
    page = html(validation([pair(f"{name}.png") for name in "abc"]))
    assert "All 3 images, the worst first" in page
    assert "The worst" not in page
    assert '<td class="name"><bdi></bdi></td>' in page
    assert "The worst 2 images of 3" in html(validation([pair(f"{name}.png") for name in "abc"]), 2)


def test_a_file_that_holds_all_that_it_shows() -> None:
    page = html(validation([pair(PHOTO)]))
    found = Tags(page)
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")  # neither handlers …
            assert name != "style"  # … nor styles that the policy would refuse
            if name in ("src", "href"):
                assert value is not None
                assert value.startswith(("data:", "#")), (tag, value)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_policy_allows_the_one_style_and_the_one_script() -> None:
    import hashlib

    page = html(validation([pair(PHOTO)]))
    policy = next(one["content"] for one in Tags(page).all("meta") if "http-equiv" in one)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_is_text(name: str) -> None:
    plain = html(
        validation([pair("b"), pair("a.png", 0.2)], labels=["a", "a"], unreadable=[("a", "a")], warnings=["a"])
    )
    page = html(
        validation(
            [pair("b", names=[name] * 2), pair(name, 0.2, names=[name] * 2)],
            labels=[name, name],
            unreadable=[(name, name)],
            warnings=[name],
        )
    )
    page.encode("utf-8")
    assert [tag for tag, _ in Tags(page).tags] == [tag for tag, _ in Tags(plain).tags]
    assert not [1 for _, attributes in Tags(page).tags for key in attributes if key.startswith("on")]
    assert rows(page)["rows"][0][1] == visible(name)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00\x1b\u2028]", page)


def test_names_show_what_they_are() -> None:
    assert visible("photo\u202egpj.exe") == "photo\\u202egpj.exe"
    assert visible("two\nlines\t\0") == "two\\nlines\\t\\x00"
    assert visible(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"
    assert visible("\ud83d") == "\\ud83d"
    assert visible("Übergrößenträger 猫 👩‍🚀 قط") == "Übergrößenträger 猫 👩‍🚀 قط"
    long = visible("a" * 300 + "b.png")
    assert (len(long), long[-5:], long[79]) == (120, "b.png", "…")


def test_pictures_that_are_gone_or_changed_are_said_to_be(tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    image.write(other, np.zeros((8, 8, 3), np.uint8))
    changed = pair(str(other), sha256="1" * 64)
    page = html(validation([pair(str(tmp_path / "gone.png")), changed]))
    assert "gone.png: no such file; check the name" in page
    assert "other.png: the file has changed since the comparison" in page
    assert page.count('alt="where the candidate looks"') == 2
    assert panel(changed).picture is None


def test_a_side_without_a_map() -> None:
    blank = pair(
        PHOTO, maps=(blob(0.5, 0.5), None), notes=("the candidate map is blank: no positive evidence for class 0",)
    )
    page = html(validation([blank]))
    assert "the candidate has no map" in page
    assert "no difference without both maps" in page
    assert "1 image: <bdi>the candidate map is blank: no positive evidence for class 0" in page


def decoded(uri: str | None) -> np.ndarray:
    import cv2

    assert uri is not None
    data = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].astype(int)


def test_the_views_are_small_and_lie_where_they_should() -> None:
    grey = np.full((900, 1200, 3), 90, np.uint8)
    views = panel(pair("none.png", size=grey.shape[:2], maps=(blob(0.25, 0.5), blob(0.75, 0.5))))
    assert max(views.width, views.height) == SIDE

    reference, candidate, difference = map(
        decoded, (views.objects[0].reference, views.objects[0].candidate, views.objects[0].difference)
    )
    warm = [np.flatnonzero((one[..., 0] - one[..., 2])[120] > 60) for one in (reference, candidate)]
    assert [at.mean() / views.width for at in warm] == pytest.approx([0.25, 0.75], abs=0.02)
    left, right = difference[120, views.width // 4], difference[120, 3 * views.width // 4]
    assert left[2] - left[0] > 100  # blue where the candidate looks less
    assert right[0] - right[2] > 100  # red where it looks more


def test_a_difference_of_one_sign_has_one_colour() -> None:
    more = decoded(panel(pair("none.png", maps=(0.2 * blob(0.5, 0.5), blob(0.5, 0.5)))).objects[0].difference)
    assert (more[..., 0] - more[..., 2]).max() > 100
    assert (more[..., 2] - more[..., 0]).max() < 20


def test_a_white_picture_stays_white_below_the_difference(tmp_path: Path) -> None:
    image.write(tmp_path / "white.png", np.full((40, 50, 3), 255, np.uint8))
    views = panel(pair(str(tmp_path / "white.png"), size=(40, 50), maps=(np.zeros((45, 56)), np.zeros((45, 56)))))
    assert decoded(views.objects[0].difference).min() > 250


def test_the_worst_first() -> None:
    table = {"iou": np.array([0.9, 0.2, np.nan, 0.5]), "kl": np.array([0.1, 0.9, 0.2, 0.0])}
    assert ranking.order(table, "iou").tolist() == [2, 1, 3, 0]  # what has no value is the worst
    assert ranking.order(table, "kl").tolist() == [1, 2, 0, 3]
    assert ranking.order(table).tolist() == [1, 2, 0, 3]
    with pytest.raises(MetricError, match=r"no image has a value of 'iuo' to sort by; there are iou, kl\. Did you"):
        ranking.order(table, "iuo")


def test_histograms_by_hand() -> None:
    found = histogram(np.array([0.1, 0.12, 0.9, np.nan]), [1.0])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0, 1))  # of three values four bars at most, of 0.5
    assert [bar.count for bar in found.bars] == [2, 1]
    assert found.bounds == pytest.approx((WIDTH,))
    assert found.mean == pytest.approx(WIDTH * 1.12 / 3)
    halves = histogram(np.array([0.0, 1, 1]), yes_or_no=True)
    assert halves is not None
    assert [(bar.low, bar.high, bar.count) for bar in halves.bars] == [(0, 0.5, 1), (0.5, 1, 2)]
    same = histogram(np.full(5, 0.37))
    assert same is not None
    assert [bar.count for bar in same.bars] == [5]
    assert histogram(np.array([np.nan])) is None


@pytest.mark.parametrize("values", [[0, 1e-9], [1e6, 3e6], [-1, 1], [0.999, 1.0], [0.3, 0.3]])
def test_histograms_count_every_value(values: list[float]) -> None:
    many = np.linspace(*values, 1000)
    found = histogram(many, values[:1])
    assert found is not None
    assert sum(bar.count for bar in found.bars) == 1000
    assert len(found.bars) <= 26
    assert found.low <= many.min() + 1e-12
    assert found.high >= many.max() - 1e-12


def test_a_histogram_of_values_a_rounding_apart() -> None:
    found = histogram(np.array([0.9999999999999998, 0.9999999999999999, 1.0]))
    assert found is not None
    assert (found.low < found.high, sum(bar.count for bar in found.bars)) == (True, 3)


@pytest.mark.slow
def test_ten_thousand_pictures_are_a_few_megabytes() -> None:
    rng = np.random.default_rng(0)
    moves = np.abs(rng.normal(0, 0.2, 10_000)).clip(0, 0.95).tolist()
    page = html(validation([pair(f"folder/{i:05}.jpg", moved) for i, moved in enumerate(moves)]))
    data = rows(page)
    assert len(page) < 4e6
    assert len(data["rows"]) == 10_000
    assert data["rows"][0][1] == f"{int(np.argmax(moves)):05}.jpg"  # the folder is said once
    assert "Images in <bdi>folder/</bdi>" in page
    assert page.count('class="card"') == data["cards"] == 24
    assert len(page[: page.index('id="rows"')]) < 2e6


@pytest.mark.slow
def test_more_than_the_table_holds_are_said_to_be_left_out() -> None:
    listed = result_table([pair(f"{i}.jpg", 0.1, maps=(None, None)) for i in range(ROWS + 5)])
    assert len(listed.data(0)["rows"]) == ROWS


def test_no_picture_at_all() -> None:
    page = html(validation([], unreadable=[("a.png", "a.png: the file is empty")]))
    assert "1 image could not be read and is not included" in re.sub(r"\s+", " ", page)
    assert "not measured" in page


def test_without_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(OutputError, match=r"made by Jinja, which is not installed; pip install 'onnxcam\[edge\]'"):
        html(validation([pair(PHOTO)]))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 461 images, hostile ones among them; written once, as nobody changes it."""
    labels = ["cat", "</td><img src=x onerror=window.taken=1>"]
    pairs = [pair(f"picture {i}.png", (i * 37 % 450) / 500, names=labels) for i in range(448)]
    pairs += [pair(name, names=labels) for name in HOSTILE.values()]
    made = validation(pairs, labels=labels, unreadable=[(HOSTILE["end"], HOSTILE["image"])])
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(html(made), "utf-8")
    return file


class TestInABrowser:
    """The report as a person meets it; the fixture also asserts: no request, no error, no breach of the policy."""

    @pytest.fixture
    def opened(self, page: Any, large: Path) -> Any:
        page.goto(large.as_uri())
        return page

    @staticmethod
    def column(page: Any, place: int) -> list[str]:
        return page.eval_on_selector_all("#all tbody tr", f"rows => rows.map(row => row.cells[{place}].textContent)")

    def test_it_is_a_page(self, opened: Any) -> None:
        assert opened.title() == "Failed: net_int8.onnx against net.onnx"
        assert opened.locator("article.card").count() == 24
        assert opened.inner_text("#status") == "461 images, the first 200 shown"
        assert self.column(opened, 0) == [str(i) for i in range(1, 201)]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_no_fault(self, opened: Any, npm: Path, scheme: str) -> None:
        opened.set_viewport_size({"width": 390, "height": 844})
        opened.emulate_media(color_scheme=scheme)
        opened.evaluate((npm / "axe-core" / "axe.min.js").read_text("utf-8"))
        faults = "async () => (await axe.run()).violations.map(one => [one.id, one.nodes[0].html])"
        assert opened.evaluate(faults) == []

    def test_names_run_nothing_and_are_shown(self, opened: Any) -> None:
        for _ in range(2):
            opened.click("#more")
        assert opened.locator("#more").is_hidden()
        shown = self.column(opened, 1)
        assert {visible(name) for name in HOSTILE.values()} <= set(shown)
        assert opened.evaluate("window.taken") is None
        assert opened.locator("#all img").count() == 0

    def test_every_column_sorts_by_click_and_by_key(self, opened: Any) -> None:
        headers = opened.locator("#all thead th")
        iou = headers.all_inner_texts().index("iou")
        button = headers.nth(iou).locator("button")
        button.click()
        values = [float(value) for value in self.column(opened, iou)]
        assert values == sorted(values)
        assert headers.nth(iou).get_attribute("aria-sort") == "ascending"
        assert opened.locator("#all th[aria-sort]").count() == 1
        button.focus()
        opened.keyboard.press("Enter")
        values = [float(value) for value in self.column(opened, iou)]
        assert values == sorted(values, reverse=True)
        assert headers.nth(iou).get_attribute("aria-sort") == "descending"
        opened.locator("#all thead th button").nth(1).click()
        names = [name for name in self.column(opened, 1) if name.startswith("picture ")]
        assert names == sorted(names, key=lambda name: int(name.split()[1].split(".")[0]))  # 2 before 10

    def test_the_filter(self, opened: Any) -> None:
        opened.fill("#filter", "PICTURE 44")
        assert opened.inner_text("#status") == "9 of 461 images"
        opened.fill("#filter", "no such")
        assert opened.inner_text("#status") == "0 of 461 images"
        opened.fill("#filter", "")
        opened.check("#differing")
        assert all("img" in name for name in self.column(opened, 4))
        assert len(self.column(opened, 4)) > 10

    def test_a_row_leads_to_its_card(self, opened: Any) -> None:
        opened.click("#all tbody tr:nth-child(3) a")
        assert opened.evaluate("document.querySelector(':target').id") == "picture-3"

    def test_it_fits_a_phone(self, opened: Any) -> None:
        opened.set_viewport_size({"width": 390, "height": 800})
        assert opened.evaluate("document.documentElement.scrollWidth") == 390

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_text_stands_out(self, opened: Any, scheme: str) -> None:
        """WCAG 2.1 AA asks for a contrast of 4.5."""
        opened.emulate_media(color_scheme=scheme)
        lowest = opened.evaluate(CONTRAST)
        assert lowest >= 4.5


CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(Number).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const texts = [...document.querySelectorAll("p, th, td, dt, dd, a, figcaption, .good, .bad, li, button")];
  return Math.min(...texts.map((one) => {
    const [high, low] = [light(getComputedStyle(one).color), ground].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }));
}"""


@pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere take no such names")
def test_from_files_of_hostile_names_to_the_reports(tmp_path: Path) -> None:
    from onnxcam.compare.validate import validate

    folder = tmp_path / "pictures"
    folder.mkdir()
    names = [os.fsencode(name.replace("/", "")) for key, name in HOSTILE.items() if key not in ("nul", "long")]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(Path(PHOTO).read_bytes())
    model = ASSETS / "shapes.onnx"
    found = validate(model, model, folder, tmp_path / "out", require="iou>=0.99")
    found.save(tmp_path / "out")
    data = json.loads((tmp_path / "out" / "validation.json").read_text("utf-8"))
    assert {os.fsencode(Path(one["picture"]).name) for one in data["pictures"]} == {
        name for name in names if os.path.splitext(name)[1] == b".png"
    }
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "caf\\xe9\\xff.png" in page
    assert len(Tags(page).all("script")) == 2
    assert not [1 for _, attributes in Tags(page).tags for key in attributes if key.startswith("on")]
