"""What may be asked for: each kind of target as data; `onnxcam.targets.parser` reads them from words."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

Label: TypeAlias = "int | str"
Picture: TypeAlias = "str | os.PathLike[str] | NDArray[Any]"
Corners: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Top:
    """What the model itself puts first; the *count* that it puts first are several targets."""

    count: int = 1


@dataclass(frozen=True)
class Class:
    """The score of a class."""

    label: Label


@dataclass(frozen=True)
class Contrast:
    """The score of a class less that of another."""

    label: Label
    against: Label


@dataclass(frozen=True)
class Against:
    """The negative score of a class."""

    label: Label


@dataclass(frozen=True)
class Element:
    """Elements of a tensor, their sum or mean. The first axis is the picture's, of length 1, if the tensor has one."""

    tensor: str
    index: tuple[int | slice, ...]
    mean: bool = False


@dataclass(frozen=True)
class Box:
    """The detection at (x1, y1, x2, y2), in pixels of the picture."""

    corners: Corners
    label: Label | None = None


@dataclass(frozen=True)
class Detection:
    """The detection of this number, the best is 0; of those of a class, if one is named."""

    number: int = 0
    label: Label | None = None


@dataclass(frozen=True)
class Region:
    """The score of a class over a region: that of *mask*, or where the model itself sees the class."""

    label: Label | None = None
    mask: Picture | None = None


@dataclass(frozen=True)
class Like:
    """The cosine between the embedding and that of *picture*, less that with *unlike*."""

    picture: Picture | None
    unlike: Picture | None = None


@dataclass(frozen=True)
class Text:
    """That *text* is read; only its character number *at*."""

    text: str
    at: int | None = None


@dataclass(frozen=True)
class Word:
    """That the caption goes on with *word*, after the words *after* or at place *step* of the model's own caption."""

    word: str | None
    after: str | None = None
    step: int | None = None


@dataclass(frozen=True)
class Patch:
    """A part (x1, y1, x2, y2) of the picture that is put out."""

    corners: Corners


Wish: TypeAlias = (
    "Top | Class | Contrast | Against | Element | Box | Detection | Region | Like | Text | Word | Patch"  #
)
WISHES = (Top, Class, Contrast, Against, Element, Box, Detection, Region, Like, Text, Word, Patch)
Target: TypeAlias = "int | str | Wish | None"
