"""``evaluate`` by each format of truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxcam import Explainer
from onnxcam.errors import ImageError, MetricError, OnnxcamError, TargetError, TruthError
from onnxcam.media import image
from onnxcam.metrics import evaluate

pytest.importorskip("matplotlib")
ASSETS = Path(__file__).parents[2] / "onnxcam" / "assets"
SHAPES, PICTURES = ASSETS / "shapes.onnx", [ASSETS / "shapes_1.png", ASSETS / "shapes_2.png"]
BOXES = json.loads((ASSETS / "shapes_truth.json").read_text())
SIZE = image.read(PICTURES[0]).shape[:2]


def coco(root: Path, **more: Any) -> Path:
    names = sorted({one["label"] for entry in BOXES.values() for one in entry})
    found: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    found["categories"] = [{"id": number, "name": name} for number, name in enumerate(names)]
    for number, (name, entry) in enumerate(BOXES.items()):
        found["images"].append({"id": number, "file_name": name})
        for one in entry:
            x1, y1, x2, y2 = one["box"]
            row = {"image_id": number, "category_id": names.index(one["label"]), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            found["annotations"].append(row)
    path = root / "instances.json"
    path.write_text(json.dumps(found | more))
    return path


def csv(root: Path) -> Path:
    rows = [",".join([name, one["label"], *map(str, one["box"])]) for name, entry in BOXES.items() for one in entry]
    path = root / "truth.csv"
    path.write_text("\n".join(["image,class,x1,y1,x2,y2", *rows]))
    return path


def yolo(root: Path) -> Path:
    pytest.importorskip("yaml", reason="the extra onnxcam[truth] is not installed")
    names = Explainer(SHAPES).class_names or []
    high, wide = SIZE
    (root / "labels").mkdir()
    for name, entry in BOXES.items():
        rows = []
        for one in entry:
            x1, y1, x2, y2 = one["box"]
            numbers = (x1 + x2) / 2 / wide, (y1 + y2) / 2 / high, (x2 - x1) / wide, (y2 - y1) / high
            rows.append(f"{names.index(one['label'])} " + " ".join(map(repr, numbers)))
        (root / "labels" / f"{Path(name).stem}.txt").write_text("\n".join(rows))
    path = root / "data.yaml"
    path.write_text("names: " + json.dumps(list(names)))
    return path


@pytest.mark.parametrize("make", [coco, csv, yolo])
def test_a_format_gives_the_figures_of_the_json_of_boxes(make: Any, tmp_path: Path) -> None:
    expected = evaluate(SHAPES, PICTURES, metrics=["localisation"], truth=ASSETS / "shapes_truth.json")
    found = evaluate(SHAPES, PICTURES, metrics=["localisation"], truth=make(tmp_path))
    assert found.truth is not None
    assert found.truth["format"] == make.__name__
    wanted = {(row.image, row.label): row.values for row in expected.rows}
    assert {(row.image, row.label) for row in found.rows} == set(wanted)
    for row in found.rows:
        assert row.values == pytest.approx(wanted[row.image, row.label], abs=1e-6)


def test_columns_are_said(tmp_path: Path) -> None:
    found = evaluate(SHAPES, PICTURES, metrics=["sparseness"], truth=csv(tmp_path))
    assert any("image from 'image', label from 'class', box from 'x1' 'y1' 'x2' 'y2'" in one for one in found.warnings)


def test_an_image_without_an_object_is_left_out(tmp_path: Path) -> None:
    first = {"id": 0, "image_id": 0, "category_id": 0, "bbox": [0, 0, 9, 9]}
    truth = coco(tmp_path, annotations=[first])
    found = evaluate(SHAPES, PICTURES, metrics=["pointing-game"], truth=truth)
    assert len(found.rows) == 1
    assert "shapes_2.png: the truth has no box and no mask in this image" in found.unreadable[0][1]
    with pytest.raises(TruthError, match=r"shapes_2.png: the truth has no box and no mask"):
        evaluate(SHAPES, PICTURES, metrics=["pointing-game"], truth=truth, strict=True)


def test_class_folders_name_the_class_to_explain(tmp_path: Path) -> None:
    pictures = []
    for name, picture in zip(("star", "ring"), PICTURES, strict=True):
        pictures.append(tmp_path / name / picture.name)
        pictures[-1].parent.mkdir()
        pictures[-1].write_bytes(picture.read_bytes())
    found = evaluate(SHAPES, pictures, metrics=["sparseness"], truth=tmp_path)
    assert [row.label for row in found.rows] == ["star", "ring"]
    with pytest.raises(MetricError, match="pointing-game needs ground truth; give --truth, masks or boxes"):
        evaluate(SHAPES, pictures, metrics=["localisation"], truth=tmp_path)


@pytest.mark.parametrize(
    ("error", "message", "more"),
    [
        (TargetError, "no class is named 'zebra'", {"categories": [{"id": k, "name": "zebra"} for k in range(9)]}),
        (TruthError, "the truth is of an image of 640 × 480 pixels",
         {"images": [{"id": 0, "file_name": "shapes_1.png", "width": 640, "height": 480}]}),
        (TruthError, "no entry for shapes_1.png", {"images": []}),
        (ImageError, "none of the 1 images can be measured; the first: ", {"annotations": []}),
    ],
)  # fmt: skip
def test_a_truth_that_does_not_fit(error: type[OnnxcamError], message: str, more: Any, tmp_path: Path) -> None:
    with pytest.raises(error) as found:
        evaluate(SHAPES, PICTURES[:1], truth=coco(tmp_path, **more))
    assert message in str(found.value)
    assert "\n" not in str(found.value)
