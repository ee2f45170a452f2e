"""`ConceptMaps`: the concepts of one image, their maps and classes; drawn and saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from onnxcam.errors import OutputError
from onnxcam.explainer.drawing import EXACT, SUFFIXES, Drawing, check_drawing, is_figure
from onnxcam.explainer.explanation import Explanation, npy, write_encoded
from onnxcam.media import concept_picture
from onnxcam.media import image as pictures
from onnxcam.media.heatmap import BY_VALUE, Opacity

__all__ = ["Concept", "ConceptMaps"]


@dataclass(frozen=True)
class Concept:
    """One concept of an image, or of several.

    Attributes:
        number: Its number, from 1: the concept with the largest share first.
        share: Its share of the layer's activation, 0 to 1; of several images the share in all of them.
        index: The index of the class that the network behind the layer gives to the concept alone; None for a model
            without classes.
        label: The name of that class; None where it is not known.
        probability: The probability of that class; None where the model gives none.
    """

    number: int
    share: float
    index: int | None = None
    label: str | None = None
    probability: float | None = None

    @property
    def colour(self) -> tuple[int, int, int]:
        """The colour of the concept in overlays, RGB."""
        return concept_picture.colour(self.number)

    @property
    def colour_name(self) -> str:
        """The colour in a word, such as ``"red"``; of the ninth and later concepts ``#rrggbb``."""
        return concept_picture.colour_name(self.number)

    @property
    def words(self) -> str:
        """The name of the class, or its index; empty for a model without classes."""
        return self.label or ("" if self.index is None else str(self.index))


@dataclass(frozen=True)
class ConceptMaps:
    """What a layer sees in an image: a few concepts, each with its map and the class that it alone speaks for.

    Attributes:
        raw: The maps at the layer's size, float32 [K, h, w] in [0, 1]: 1 is the strongest place of a concept in all
            images of the factorisation. Of volumes [K, d, h, w], of signals [K, t].
        concepts: The K concepts.
        shares: The share of each concept in the activation of this image, 0 to 1.
        images: The number of images that share the concepts.
        explanation: The image, its target (of a classifier the top class) with its score, the layer, the outputs and
            the warnings; its map is the largest of the concepts' at each place.
        enlarge: A function from a map at the layer to the map at the image's size.
    """

    raw: NDArray[np.float32]
    concepts: tuple[Concept, ...]
    shares: tuple[float, ...]
    images: int
    explanation: Explanation
    enlarge: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Return one line: the image, and number, class and share of each concept, without arrays."""
        said = ", ".join(
            f"{one.number} {one.words} {share:.0%}" for one, share in zip(self.concepts, self.shares, strict=True)
        )
        return f"ConceptMaps({self.explanation.name or 'an array'}: {said})"

    def __len__(self) -> int:
        return len(self.concepts)

    @cached_property
    def maps(self) -> NDArray[np.float32]:
        """The maps at the image's size, float32 [K, H, W] in [0, 1]."""
        large = self.raw if self.enlarge is None else np.stack([self.enlarge(one) for one in self.raw])
        return np.clip(large, 0, 1)

    @property
    def classes(self) -> list[str]:
        """The name or index of the class of each concept; empty strings for a model without classes."""
        return [one.words for one in self.concepts]

    @property
    def method(self) -> str:
        """The method's id."""
        return self.explanation.method

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know about these maps."""
        return self.explanation.warnings

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What manifest.json says of each concept."""
        return [
            {
                "concept": one.number,
                "colour": one.colour_name,
                "index": one.index,
                "label": one.label,
                "probability": one.probability,
                "share": share,
            }
            for one, share in zip(self.concepts, self.shares, strict=True)
        ]

    def overlay(
        self, opacity: Opacity = BY_VALUE, colormap: str | None = None, *, legend: bool = False
    ) -> NDArray[np.uint8]:
        """Return the concepts over the image, each in its colour, uint8 [H, W, 3] RGB.

        A pixel has the colour of its strongest concept. *opacity* is ``"value"``, as strong as the concept there, or a
        number from 0 to 1: the weight of the colour, which is darker where the concept is weaker. With a *legend* the
        picture is wider: number, class and share of each concept are beside it. Of volumes, signals and videos the
        concepts are drawn one below the other, as `Explanation.overlay` draws one, in the colours of *colormap*.
        """
        if not self._is_picture:
            each = [self.alone(one.number).overlay(opacity, colormap) for one in self.concepts]
            return concept_picture.stacked(each, self._legend())
        drawn = concept_picture.coloured(self.explanation.image, self.maps, opacity)
        return concept_picture.with_legend(drawn, self._legend()) if legend else drawn

    @property
    def _is_picture(self) -> bool:
        return self.raw.ndim == 3 and self.explanation.signal is None

    def alone(self, number: int) -> Explanation:
        """Return concept *number*, from 1, as an explanation of its own: its map and class, and the image's outputs."""
        one = self.concepts[number - 1]
        return replace(
            self.explanation,
            map=self.maps[number - 1],
            raw=self.raw[number - 1],
            target=one.index,
            label=one.label,
            words=f"concept {number}",
            probability=one.probability,
            map_at=None,
        )

    def _legend(self) -> list[tuple[str, str]]:
        """Return the two lines of each concept."""
        found = []
        for one, share in zip(self.concepts, self.shares, strict=True):
            name = f"{one.number}  {_short(one.words)}".rstrip()
            chance = "" if one.probability is None else f"p {one.probability:.2f}   "
            found.append((name, f"{chance}share {share:.0%}"))
        return found

    def save(
        self, directory: str | os.PathLike[str], stem: str | None = None, **drawing: Unpack[Drawing]
    ) -> dict[str, Path]:
        """Write the raw maps, one .npy [K, h, w], the picture with its legend, and the maps at the image's size.

        The arguments are those of `Explanation.save`, but for those of one map. Returns the paths by kind:
        ``"raw"``, ``"overlay"`` and ``"map"``. OutputError where they cannot be written, and for boxes,
        a title, a colour bar, or the image beside.
        """
        return write_encoded(Path(directory), self.encode(self.explanation.stem if stem is None else stem, **drawing))

    def encode(self, stem: str, **drawing: Unpack[Drawing]) -> dict[str, tuple[str, bytes]]:
        """Return the files that `save` writes: by kind the name and the content."""
        chosen: Drawing = {**EXACT, **drawing}
        check_drawing(chosen)
        if chosen["boxes"] or is_figure(chosen):
            raise OutputError(
                "boxes, title, colorbar and beside are of one map; leave them out, or take one concept, `alone(1)`"
            )
        start = self.start(stem)
        found = {"raw": (f"{start}-raw.npy", npy(self.raw))}
        if chosen["maps"] == "all":
            found["map"] = f"{start}-map.npy", npy(self.maps)
        if chosen["maps"] != "raw":
            name = f"{start}-overlay{SUFFIXES[chosen['format']]}"
            drawn = self.overlay(chosen["opacity"], chosen["colormap"], legend=True)
            found["overlay"] = name, pictures.encode(drawn, Path(name), chosen["quality"])
        return found

    def start(self, stem: str) -> str:
        """Return the start of the names of files: *stem*, what is found, the method and a layer that the user named."""
        return self.explanation.start(stem, self.slug)

    @property
    def slug(self) -> str:
        """The part of a file name that stands where that of an explanation has its target."""
        return "concepts"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "maps": self.maps, "enlarge": None}


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else f"{name[: longest - 3].rstrip()}..."
