"""Pascal VOC: one XML file for each image, and masks of classes in SegmentationClass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from onnxcam import paths
from onnxcam.errors import TruthError
from onnxcam.metrics.truth.annotation import Annotation, Object
from onnxcam.metrics.truth.geometry import check_size, checked_box
from onnxcam.metrics.truth.image_index import ImageIndex
from onnxcam.metrics.truth.masks import annotation_of, read_mask
from onnxcam.metrics.truth.source import TruthPath, TruthSource
from onnxcam.metrics.truth.xml_files import number, read_xml, text_of

__all__ = ["VocTruth"]

_XML, _MASKS = "Annotations", "SegmentationClass"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocTruth(TruthSource):
    """A folder with Annotations and perhaps SegmentationClass, a folder of XML files, or one XML file."""

    format = "voc"
    title = "Pascal VOC"
    form = "a Pascal VOC folder with Annotations/*.xml"

    def __init__(self, place: TruthPath) -> None:
        super().__init__(place)
        files = _files(place)
        if not files:
            raise TruthError(f"truth '{self.path}' has no XML file; it is {self.form}")
        self._images = ImageIndex(((str(path), path) for path in files), str(self.path), stems=True)
        self._masks = self.path / _MASKS
        self.notes, self.single = self._images.notes, place.kind == "file"

    @classmethod
    def fits(cls, place: TruthPath) -> bool:
        """Return whether the first XML file has an <annotation>."""
        files = _files(place)
        return bool(files) and read_xml(files[0]).tag == "annotation"

    def annotation(self, picture: Path, size: tuple[int, int]) -> Annotation | None:
        """Return the objects in *picture*, and its mask of classes if there is one."""
        path = self.path if self.single else self._images.find(picture)
        if path is None:
            return None
        found = _annotation(path, size)
        mask = self._masks / f"{picture.stem}.png"
        if paths.kind(mask) != "file":
            return found
        return replace(found, mask=annotation_of(read_mask(mask), size, mask, "class").mask)


def _files(place: TruthPath) -> list[Path]:
    if place.kind == "file":
        return [place.path] if place.ending == ".xml" else []
    return TruthPath(place.path / _XML).files(".xml") or place.files(".xml")


def _annotation(path: Path, size: tuple[int, int]) -> Annotation:
    root, where = read_xml(path), str(path)
    written = root.find("size")
    if written is not None:
        height, width = (int(number(written.findtext(one) or "0", one, where)) for one in ("height", "width"))
        check_size(height, width, size, where)
    found = [(one, _corners(one, where)) for one in root.findall("object")]
    first = 0 if any(min(box) < 1 for _, box in found) else 1  # pixels count from 1, or from 0 in other tools
    return Annotation(tuple(_object(one, box, first, size, where) for one, box in found))


def _corners(one: Element, where: str) -> list[float]:
    box = one.find("bndbox")
    if box is None:
        raise TruthError(f"{where}: an <object> has no <bndbox>")
    return [number(text_of(box, name, where), name, where) for name in _CORNERS]


def _object(one: Element, box: list[float], first: int, size: tuple[int, int], where: str) -> Object:
    x1, y1, x2, y2 = box
    return Object(
        text_of(one, "name", where),
        checked_box([x1 - first, y1 - first, x2, y2], size, where),
        difficult=(one.findtext("difficult") or "0").strip() == "1",
    )
