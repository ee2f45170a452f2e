"""The same truth in every format: a cat and a dog in photos/img.jpg, 10 × 8 pixels; nothing in photos/empty.jpg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SIZE = (8, 10)
CAT, DOG = (1.0, 2.0, 4.0, 6.0), (5.0, 0.0, 10.0, 4.0)
NAMES = ["cat", "dog"]


def corners(box: tuple[float, float, float, float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def coco_object() -> dict[str, Any]:
    def one(id: int, category: int, box: tuple[float, float, float, float], **more: Any) -> dict[str, Any]:
        x1, y1, x2, y2 = box
        return {"id": id, "image_id": 7, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]} | more

    return {
        "images": [
            {"id": 7, "file_name": "photos/img.jpg", "height": 8, "width": 10},
            {"id": 9, "file_name": "photos/empty.jpg", "height": 8, "width": 10},
        ],
        "annotations": [
            one(1, 17, CAT, segmentation=[corners(CAT)], area=12, iscrowd=0, keypoints=[2, 3, 2, 0, 0, 0]),
            one(2, 90, DOG, segmentation={"size": [8, 10], "counts": [40, *[4, 4] * 5]}, iscrowd=1),
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 17, "name": "cat"}],
    }


def save(path: Path, text: str | dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))
    return path


def coco(root: Path) -> Path:
    return save(root / "instances.json", coco_object())


VOC = """<annotation><filename>img.jpg</filename><size><width>10</width><height>8</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>4</xmax><ymax>6</ymax></bndbox>
</object><object><name>dog</name><difficult>1</difficult><bndbox><ymin>1</ymin><xmin>6</xmin><xmax>10</xmax><ymax>4</ymax>
</bndbox></object></annotation>"""


def voc(root: Path) -> Path:
    save(root / "Annotations" / "img.xml", VOC)
    save(root / "Annotations" / "empty.xml", "<annotation><filename>empty.jpg</filename></annotation>")
    return root


def share(values: list[float]) -> str:
    return " ".join(f"{value / full:.6f}" for value, full in zip(values, [10, 8] * (len(values) // 2), strict=True))


def centre(box: tuple[float, float, float, float]) -> str:
    x1, y1, x2, y2 = box
    return share([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def yolo(root: Path, rows: str = f"0 {centre(CAT)}\n1 {centre(DOG)}\n", more: str = "") -> Path:
    picture(root / "images" / "val" / "img.jpg")
    picture(root / "images" / "val" / "empty.jpg")
    save(root / "labels" / "val" / "img.txt", rows)
    return save(root / "data.yaml", f"path: .\ntrain: images/val\nval: images/val\nnames: [cat, dog]\n{more}")


def labels_only(root: Path) -> Path:
    save(root / "labels" / "classes.txt", "cat\ndog\n")
    save(root / "labels" / "empty.txt", "")
    return save(root / "labels" / "img.txt", f"0 {centre(CAT)}\n1 {share(corners(DOG))}\n").parent


CSV = """Filename;width;height;class;xmin;ymin;xmax;ymax
photos/img.jpg;10;8;cat;1;2;4;6
photos/img.jpg;10;8;dog;5;0;10;4
photos/empty.jpg;10;8;;;;;
"""


def csv(root: Path) -> Path:
    return save(root / "truth.csv", CSV)


def labelme(root: Path) -> Path:
    def shape(label: str, kind: str, points: list[float]) -> dict[str, Any]:
        return {"label": label, "shape_type": kind, "points": np.reshape(points, (-1, 2)).tolist()}

    shapes = [
        shape("cat", "polygon", corners(CAT)),
        shape("dog", "rectangle", [10, 4, 5, 0]),
        shape("x", "point", [1, 1]),
    ]
    save(root / "img.json", {"shapes": shapes, "imagePath": "img.jpg", "imageHeight": 8, "imageWidth": 10})
    save(root / "empty.json", {"shapes": [], "imagePath": "empty.jpg"})
    return root


CVAT = """<annotations><version>1.1</version><meta><job><labels><label><name>cat</name></label><label><name>dog</name>
</label></labels></job></meta>
<image id="0" name="photos/img.jpg" width="10" height="8"><box label="cat" xtl="1" ytl="2" xbr="4"
ybr="6" occluded="0"/><mask label="dog" rle="0,20" left="5" top="0" width="5" height="4"/><tag label="indoor"/></image>
<image id="1" name="photos/empty.jpg" width="10" height="8"/></annotations>"""


def cvat(root: Path) -> Path:
    return save(root / "annotations.xml", CVAT)


def boxes(root: Path) -> Path:
    objects = [{"label": "cat", "box": CAT}, {"label": "dog", "box": DOG}]
    return save(root / "boxes.json", json.dumps({"photos/img.jpg": objects}))


MAKERS = {
    "coco": coco, "voc": voc, "yolo": yolo, "csv": csv, "labelme": labelme, "cvat": cvat, "boxes": boxes
}  # fmt: skip
