"""Explanations as a browser draws them: a photo, the levels of the map, and the colour of each level."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcam import Explainer, Explanation
from onnxcam.errors import OnnxcamError
from onnxcam.explainer.explainer import Image
from onnxcam.explainer.sheet import MapLook, colours_of, named
from onnxcam.inspection import ModelReport, survey
from onnxcam.media import colours, heatmap, image, readable
from onnxcam.methods import METHODS

__all__ = ["AUTO_LAYER", "SIDE", "BrowserView", "ExplanationViews", "view_of"]

SIDE = 480
"""The longer side of the picture that is sent to the browser, in pixels."""
AUTO_LAYER = "auto"
_BEST = 5
_LEVELS = 256


@dataclass(frozen=True)
class BrowserView:
    """What the browser draws of one explanation.

    Attributes:
        photo: The picture under the map, the content of a .png file.
        heat: The map as levels of grey, a .png file of the same size; where signed, 128 is zero,
            and levels grow as the root.
        palette: The colour and the opacity of each level, uint8 [256, 4] RGBA. Opacity is that of the overlay by value.
        bar: The values at the ends of the colour bar.
        said: Target, score, method and layer, each a pair of a name and a value.
        warnings: What the user should know about this map.
    """

    photo: bytes
    heat: bytes
    palette: NDArray[np.uint8]
    bar: tuple[str, str]
    said: list[tuple[str, str]]
    warnings: list[str]


def view_of(one: Explanation) -> BrowserView:
    """Return the view of an explanation. What is no image is drawn whole, under a map of zeros."""
    colormap, is_signed = colours_of(one, MapLook())
    name = colormap or colours.OVER
    if one.map.ndim == 2 and one.parts is None and one.signal is None:
        ground, heat = _layers(one)
    else:
        ground = one.overlay()
        heat = np.zeros(ground.shape[:2], np.float32)
    grey = _signed_levels(heat) if is_signed else colours.levels(heat)
    strongest = 1.0 if one.is_of_pixels else heatmap.STRONGEST
    return BrowserView(
        photo=image.encode(ground, Path("photo.png")),
        heat=image.encode(np.repeat(grey[..., None], 3, axis=2), Path("heat.png")),
        palette=_signed_palette(strongest) if is_signed else _palette(name, strongest),
        bar=("−1", "1") if is_signed else ("0", "1"),
        said=_said(one),
        warnings=list(one.warnings),
    )


def _layers(one: Explanation) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the photo, with the frame of what the network sees, and the map as it is scaled; both of one size."""
    blank = np.zeros(one.map.shape, np.float32)
    ground = heatmap.overlay(one.image, blank, seen=one.seen, on_paper=one.is_of_pixels)
    ground, heat = readable.enlarged(ground, one.shown, readable.factor(one.map.shape))
    size = readable.fitted(ground.shape, SIDE)
    return readable.shrunk(ground, size), readable.shrunk(heat, size)


def _palette(name: str, strongest: float) -> NDArray[np.uint8]:
    """Return the colours of `heatmap.overlay` by value, and their opacity."""
    opacity = colours.weights(name, strongest)
    return np.column_stack([colours.table(name), np.round(255 * opacity)]).astype(np.uint8)


def _signed_levels(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the levels of a signed map: those of its root, since its opacity grows as the root."""
    return np.round(128 + 127 * np.sign(heat) * np.sqrt(np.abs(heat))).astype(np.uint8)


def _signed_palette(strongest: float) -> NDArray[np.uint8]:
    """Return the colours of a signed `heatmap.overlay`, and their opacity, for `_signed_levels`."""
    root = np.clip((np.arange(_LEVELS) - 128) / 127, -1, 1)
    shades = colours.colorize((root * np.abs(root)).astype(np.float32))
    return np.column_stack([shades, np.round(255 * strongest * np.abs(root))]).astype(np.uint8)


def _said(one: Explanation) -> list[tuple[str, str]]:
    pairs = [("target", named(one)), ("score", f"{one.score:.4g}"), ("method", one.method), ("layer", one.layer)]
    return [(name, value) for name, value in pairs if value]


class ExplanationViews:
    """The explanations of one image by target, layer and method. Graphs and maps are kept."""

    def __init__(self, explainer: Explainer, picture: Image) -> None:
        self.first, self._picture = explainer, picture
        self._explainers: dict[tuple[str, str], Explainer] = {}
        self._views: dict[tuple[str, str, str], BrowserView] = {}

    @cached_property
    def _report(self) -> ModelReport:
        return survey(self.first.model)

    @cached_property
    def methods(self) -> list[str]:
        """The methods of one pass that apply to the model, and that of the explainer."""
        reasons = self._report.methods
        fast = [id for id, reason in reasons.items() if not reason and METHODS[id].in_graph]
        return fast if self.first.method in fast else [self.first.method, *fast]

    @cached_property
    def layers(self) -> list[str]:
        """``"auto"`` and the layers that may be chosen, the likeliest first."""
        return [AUTO_LAYER, *dict.fromkeys(row[0] for row in self._report.layers)]

    @cached_property
    def targets(self) -> list[tuple[str, str]]:
        """The five best classes or objects: what is written on each, and its words; of other tasks the default."""
        try:
            found = self.first.best(self._picture, _BEST)
        except OnnxcamError:
            found = [self.first(self._picture)]
        return [(named(one), one.words) for one in found]

    def view(self, target: str, layer: str, method: str) -> BrowserView:
        """Return the view for *target*, empty for the default one; OnnxcamError where there is none."""
        key = target, layer, method
        if key not in self._views:
            explained = self._explainer(layer, method)(self._picture, target or None)
            self._views[key] = view_of(explained)
        return self._views[key]

    def _explainer(self, layer: str, method: str) -> Explainer:
        chosen = METHODS.get(method)
        layer = layer if chosen is None or chosen.uses_layer else AUTO_LAYER
        if (layer, method) not in self._explainers:
            settings = self.first.settings if method == self.first.method else {}
            named_layer = None if layer == AUTO_LAYER else layer
            found = self.first.replace(method=method, layer=named_layer, settings=settings)
            self._explainers[layer, method] = found
        return self._explainers[layer, method]
