"""Kinds of targets. Each is a dataclass, entered with its notation; a task's methods resolve it (`resolves`)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from onnxcam.targets.class_kinds import Against, Class, Contrast, Group, Top
from onnxcam.targets.detectors.coordinates import COORDINATES
from onnxcam.targets.notation import (
    NUMBER,
    Corners,
    ImageSource,
    Label,
    corners,
    fail,
    label,
    number,
    one_of,
    text,
)
from onnxcam.targets.registry import TargetKind, register_kind

__all__ = [
    "Against",
    "Box",
    "Class",
    "ClassRegion",
    "Contrast",
    "Detection",
    "Group",
    "Keypoint",
    "Like",
    "MeanRegion",
    "Patch",
    "Target",
    "TensorElement",
    "Text",
    "Top",
    "Word",
]


_coordinate = one_of(*COORDINATES)


@register_kind(
    "box=10,20,90,80",
    "box=10,20,90,80 class=dog",
    help="the score of the detection at x1,y1,x2,y2, in pixels of the image; `coordinate=x1`: a coordinate of its box",
    keys={"box": corners},
    options={"class": label, "coordinate": _coordinate},
)
@dataclass(frozen=True)
class Box(TargetKind):
    """The detection at (x1, y1, x2, y2), in pixels of the image: its score, or a *coordinate* of its own box."""

    corners: Corners
    label: Label | None = None
    coordinate: str | None = None


@register_kind(
    "detection=0",
    "detection=0 coordinate=x1",
    help="the score of a detection by rank, the best is 0, or a coordinate of its box; `class=dog` counts one class",
    keys={"detection": number},
    options={"class": label, "coordinate": _coordinate},
)
@dataclass(frozen=True)
class Detection(TargetKind):
    """The detection of rank *number*, the best is 0, among all detections or those of one class.

    It is explained by its score, or by a *coordinate* of its box: x1, y1, x2, y2, x, y, width or height.
    """

    number: int = 0
    label: Label | None = None
    coordinate: str | None = None


@register_kind(
    "class=3",
    "mask=FILE",
    "class=3 mask=FILE",
    help="the mean score of a class over its region, or over a mask of the image's size",
    keys={"class": label, "mask": text},
)
@dataclass(frozen=True)
class ClassRegion(TargetKind):
    """The score of a class over *mask*, or where the model predicts the class."""

    label: Label | None = None
    mask: ImageSource | None = None


@register_kind(
    "like=FILE",
    "like=FILE unlike=FILE",
    'like="a dog" unlike="a cat"',
    help="the cosine similarity to another image, a text or a vector (.npy), minus that to a second one",
    keys={"like": text, "unlike": text},
)
@dataclass(frozen=True)
class Like(TargetKind):
    """The cosine similarity to *picture*, minus that to *unlike*: images, texts, or vectors [D]."""

    picture: ImageSource | None = None
    unlike: ImageSource | None = None


@register_kind(
    "text=AB12",
    'text="A B" at=0',
    help="a text of a text recogniser or of a vision-language decoder; `at=0`: its first character, or word, alone",
    keys={"text": text},
    options={"at": number},
)
@dataclass(frozen=True)
class Text(TargetKind):
    """A *text* that is read or said of the image, or its character, or word, number *at* alone."""

    text: str
    at: int | None = None


@register_kind(
    'word=red after="a small"',
    "word=red step=2",
    help="a word of a caption, after given words or at a place of the model's own caption",
    keys={"word": text, "after": text, "step": number},
    exclusive=("after", "step"),
)
@dataclass(frozen=True)
class Word(TargetKind):
    """The next word *word* after the words *after*, or at place *step* of the model's own caption."""

    word: str | None = None
    after: str | None = None
    step: int | None = None


@register_kind(
    "patch=10,20,90,80",
    help="the edges in a part of the output image, in its pixels",
    keys={"patch": corners},
)
@dataclass(frozen=True)
class Patch(TargetKind):
    """A part (x1, y1, x2, y2) of the output image, in its pixels."""

    corners: Corners


@register_kind(
    "keypoint=3",
    "keypoint=3 axis=x",
    help="a keypoint, by index or name: its score, or one of its coordinates",
    keys={"keypoint": label},
    options={"axis": text},
)
@dataclass(frozen=True)
class Keypoint(TargetKind):
    """A keypoint: its score, or its coordinate *axis*."""

    label: Label
    axis: str | None = None


@register_kind(
    "region=10,20,90,80",
    help="the mean of a map, such as depth, over x1,y1,x2,y2, in pixels of the image",
    keys={"region": corners},
)
@dataclass(frozen=True)
class MeanRegion(TargetKind):
    """The mean of an output map over (x1, y1, x2, y2), in pixels of the image."""

    corners: Corners


_ELEMENT = re.compile(r"(?P<tensor>.+?)\[(?P<index>[^\]]*)\](?P<tail>.*)")


def _element(words: str, names: Collection[str]) -> TensorElement | None:
    found = _ELEMENT.fullmatch(words)
    if found is None or "=" in words.split("[")[0]:
        return None
    start, parts = found.start("index"), []
    for part in found["index"].split(","):
        parts.append(_index(words, start, part))
        start += len(part) + 1
    tail, single = found["tail"].strip(), all(isinstance(part, int) for part in parts)
    if tail not in ("", ".sum()", ".mean()"):
        fail(words, found.start("tail"), "only .sum() or .mean() may follow the brackets")
    if not tail and not single:
        fail(words, len(words), "several elements need .sum() or .mean()")
    return TensorElement(found["tensor"].strip(), tuple(parts), mean=tail == ".mean()")


def _index(words: str, start: int, part: str) -> int | slice:
    ends = [end.strip() for end in part.split(":")]
    if all(NUMBER.fullmatch(end) or (not end and len(ends) > 1) for end in ends):
        numbers = [int(end) if end else None for end in ends]
        if len(ends) == 1:
            return int(ends[0])
        if len(ends) == 2 or (len(ends) == 3 and numbers[2] != 0):
            return slice(*numbers)
    why = "is out of range" if part.strip().lstrip("-").isdecimal() else "is no index"
    return fail(words, start + len(part) - len(part.lstrip()), f"{part.strip()!r} {why}")


def _index_words(part: int | slice) -> str:
    if isinstance(part, int):
        return str(part)
    ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
    return ":".join(ends if ends[2] else ends[:2])


@register_kind(
    "NAME[0, 3]",
    "NAME[0, 3, :, :].sum()",
    "NAME[:, 3].mean()",
    help="an element of any tensor, or the sum or mean of several",
    read=_element,
)
@dataclass(frozen=True)
class TensorElement(TargetKind):
    """Elements of a tensor, their sum or mean. The first axis is the batch, of length 1, if the tensor has one."""

    tensor: str
    index: tuple[int | slice, ...]
    mean: bool = False

    @property
    def place(self) -> str:
        """The elements in words, without their sum or mean."""
        return f"{self.tensor}[{', '.join(map(_index_words, self.index))}]"

    def __str__(self) -> str:
        one = all(isinstance(part, int) for part in self.index)
        return self.place + (".mean()" if self.mean else "" if one else ".sum()")


Target: TypeAlias = "int | str | TargetKind | None"
"""What a user may pass: a class index, words, one of the kinds above, or None for the model's first choice."""
