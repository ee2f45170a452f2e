"""`Explanation`: the map of one image, its target and its scores; drawn and saved."""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from onnxcam import files
from onnxcam.deprecation import takes_old_names
from onnxcam.explainer import explanation_html
from onnxcam.explainer.drawing import EXACT, SUFFIXES, Drawing, check_drawing, is_figure
from onnxcam.explainer.sheet import MapLook, Sheet, named, of_one
from onnxcam.media import heatmap, planes, readable, signal_plot, video, volume
from onnxcam.media import image as pictures
from onnxcam.media.heatmap import BY_VALUE, Opacity, require_opacity
from onnxcam.media.signal import Signal
from onnxcam.media.video import Clip
from onnxcam.methods import METHODS

__all__ = ["GREEN", "WHITE", "Explanation", "npy", "write_encoded"]

WHITE, GREEN = (255, 255, 255), (0, 255, 0)


class _Computed:
    """A field that is given as a map, or as a function that computes the map at its first use."""

    def __get__(self, owner: object | None, kind: type) -> Any:
        if owner is None:
            return self
        found = vars(owner)["map"]
        if callable(found):
            found = vars(owner)["map"] = found()
        return found

    def __set__(self, owner: object, value: NDArray[np.float32] | Callable[[], NDArray[np.float32]]) -> None:
        vars(owner)["map"] = value


@dataclass(frozen=True)
class Explanation:
    """The pixels, or voxels, that contribute to the score of a target. For volumes [H, W] is [D, H, W].

    Attributes:
        image: The image, uint8 [H, W, 3] RGB, or the volume [D, H, W].
        map: float32 [H, W] in [0, 1], at the image's size: the positive part of the raw map (for gradient methods the
            largest magnitude over the channels, for lrp and lrp-gamma their sum), divided by its maximum. With
            ``signed=True`` the raw map (the sum over the channels) in [-1, 1].
        raw: The method's map, not normalised: float32 [h, w] at the layer's size; for gradient methods signed, in the
            input's shape.
        target: The index of the explained class; None where the target is no class.
        label: The name of the class; None where it is not known.
        words: The target as text, which parses to the same target.
        score: The target's score before softmax or sigmoid.
        probability: The target's probability; None where the model gives none. Of several classes it is the sum, or
            the highest one where classes do not exclude each other; of a contrast it is that of the first side.
        probability_against: The probability of the other side of a contrast; None for other targets.
        layer: The name of the layer; None for methods that use none.
        method: The method's id.
        outputs: The model's outputs for this image, by name.
        detection: The explained detection or patch, (x1, y1, x2, y2) in pixels of the image.
        parts: The words of an input that is no image, or names of its numbers; *map* has a value for each.
        features: The means of the layer's channels over the image, float32 [C]; None unless the explainer was asked.
        affine: The position of a volume in the scanner, float64 [4, 4], from a NIfTI file or a DICOM series.
        signal: The signal, of a network of signals: its values, rate and channels; *image* has its values [C, T] or, of
            a spectrogram, [C, H, W], and *map* is [T] or [H, W].
        seen: The part of the image that the network sees, (x1, y1, x2, y2) in pixels: a centre crop, for instance;
            None: all of it, or it is no image.
        clip: The frames of a video; *image* is uint8 [T, H, W, 3] RGB, and *map* [T, H, W].
        is_layer_named: The user named the layer, so that it is part of the names of files.
        variant: What else the user chose that changes the map, such as ``samples=20``: a part of the names of files.
        note: What a default target was resolved to.
        warnings: What the user should know about this map.
        name: The name of the image's file without the suffix; empty for an array.
    """

    image: NDArray[Any]
    map: NDArray[np.float32]
    raw: NDArray[np.float32]
    target: int | None
    label: str | None
    words: str
    score: float
    probability: float | None
    layer: str | None
    method: str
    outputs: Mapping[str, np.ndarray]
    detection: tuple[float, float, float, float] | None = None
    parts: tuple[str, ...] | None = None
    affine: NDArray[np.float64] | None = None
    signal: Signal | None = None
    clip: Clip | None = None
    seen: tuple[float, float, float, float] | None = None
    features: NDArray[np.float32] | None = None
    probability_against: float | None = None
    is_layer_named: bool = False
    variant: str = ""
    note: str = ""
    warnings: tuple[str, ...] = ()
    name: str = ""
    map_at: Callable[[tuple[int, ...]], NDArray[np.float32]] | None = field(default=None, repr=False)
    """A function that computes the map at another size (H, W); None for an input that is no image."""

    def __repr__(self) -> str:
        """Return one line: the image, the target, the method and the layer, without arrays."""
        at, size = f" at {self.layer}" if self.layer else "", " × ".join(map(str, self.raw.shape))
        return f"Explanation({self.name or 'an array'}: {named(self)}, {self.method}{at}, raw map {size})"

    @takes_old_names(alpha="opacity")
    def overlay(
        self, opacity: Opacity = BY_VALUE, colormap: str | None = None, boxes: bool = False, times: int = 1
    ) -> NDArray[np.uint8]:
        """Return the map over the image, uint8 [H, W, 3] RGB.

        Where the network does not look the image stays itself; a thin frame is the edge of what it sees. The map of a
        gradient method, which has a value for each pixel, is drawn on a pale grey image, and scaled so that its few
        largest values do not hide the others (`onnxcam.media.heatmap.scaled`). Of a volume the axial, coronal and
        sagittal slices through the largest value of the map are drawn (`onnxcam.media.planes`). A signal is drawn as
        a plot along time in the colours of the map, 1200 pixels wide.

        Args:
            opacity: ``"value"``: the colours are as strong as the map. A number in [0, 1] is their weight everywhere
                in what the network sees, over the image in its own colours.
            colormap: One of `onnxcam.media.colours.COLORMAPS`; None is ``"inferno"``, and ``"blues"`` for maps of
                pixels, words and signals.
            boxes: Draw the boxes of the map in white, and the explained detection or patch in green. A box of the map
                that is all that the network sees shows no place, and is not drawn.
            times: An image is enlarged so many times, each of its pixels to a square.

        Raises:
            OutputError: no colour map is called so, or the opacity is none.
        """
        require_opacity(opacity)
        return self._drawn(self.shown, opacity, colormap, boxes, times)

    def figure(
        self,
        *,
        colorbar: bool = True,
        title: str | None = None,
        original: bool = True,
        opacity: Opacity = BY_VALUE,
        colormap: str | None = None,
        boxes: bool = False,
    ) -> Sheet:
        """Return the overlay as a figure with text; `Sheet.save` writes it as PNG, PDF or SVG.

        Args:
            colorbar: With a colour bar at the right.
            title: The title; None is the target, its probability and the method, ``""`` no title.
            original: With the image beside the overlay.
            opacity: As for `overlay`.
            colormap: As for `overlay`.
            boxes: As for `overlay`.

        Raises:
            OutputError: matplotlib is not installed (extra ``figures``), or no colour map is called so.
        """
        look = MapLook(opacity, colormap, boxes)
        return of_one(self, look, colorbar=colorbar, title=title, original=original)

    def _drawn(
        self, shown: NDArray[np.float32], opacity: Opacity, colormap: str | None, boxes: bool, times: int = 1
    ) -> NDArray[np.uint8]:
        """Return *shown*, the map as it is scaled, over the image."""
        if self.parts is not None:
            return heatmap.sentence(self.parts, self.map, opacity, colormap)
        if self.signal is not None:
            return signal_plot.plot(self.signal, self.map, opacity, colormap)
        if self.clip is not None:
            return video.overlay(self.clip, shown, opacity, colormap, self.seen)
        if self.is_volume:
            return planes.overlay(self.image, shown, self.affine, opacity, colormap)
        large = readable.enlarged(self.image, shown, times)
        seen = None if self.seen is None else [times * at for at in self.seen]
        drawn = heatmap.overlay(*large, opacity, colormap, seen=seen, on_paper=self.is_of_pixels)
        if not boxes:
            return drawn
        for corners, colour in ((self._placing_boxes(), WHITE), ([self.detection] if self.detection else [], GREEN)):
            drawn = heatmap.outlined(drawn, [[times * at for at in one] for one in corners], colour)
        return drawn

    def drawn_to(self, largest: float, look: MapLook) -> NDArray[np.uint8]:
        """Return the overlay on a scale that several explanations share, which ends at *largest*, see `largest`."""
        scale = np.float32(self.peak / largest if largest > 0 else 1)
        return self._drawn(np.clip(self.map * scale, -1, 1), look.opacity, look.colormap, look.boxes)

    def resized(self, image: NDArray[np.uint8]) -> Explanation:
        """Return the explanation of the same image in another size, uint8 [h, w, 3], without the outputs."""
        assert self.map_at is not None
        y, x = (new / old for new, old in zip(image.shape, self.image.shape[:2], strict=False))
        size = image.shape[0], image.shape[1]
        seen, detection = (
            None if one is None else (one[0] * x, one[1] * y, one[2] * x, one[3] * y)
            for one in (self.seen, self.detection)
        )
        return replace(
            self, image=image, map=self.map_at(size), seen=seen, detection=detection, map_at=None, outputs={}
        )

    @property
    def largest(self) -> float:
        """The value of the raw map that is drawn in the strongest colour."""
        return self.peak * (heatmap.top(self.map) if self.is_of_pixels else 1.0)

    @property
    def peak(self) -> float:
        """The value by which the raw map was divided: its largest one, or its largest magnitude."""
        if self.raw.ndim > self.map.ndim and self.map.min(initial=0) < 0:  # the sum over the channels
            return float(np.abs(self.raw.sum(axis=int(np.argmin(self.raw.shape)))).max(initial=0))
        has_signs = self.raw.ndim > self.map.ndim or self.map.min(initial=0) < 0
        return float((np.abs(self.raw) if has_signs else self.raw).max(initial=0))

    @property
    def is_of_pixels(self) -> bool:
        """Whether the method has a value for each pixel of the image, as those of gradients and relevance have."""
        if self.parts is not None or self.signal is not None:
            return False
        method = METHODS.get(self.method)
        return self.raw.ndim > self.map.ndim if method is None else method.of_pixels

    @property
    def shown(self) -> NDArray[np.float32]:
        """The map, scaled for display."""
        return heatmap.scaled(self.map) if self.is_of_pixels else self.map

    def boxes(self, threshold: float | None = None, least: float = 0.005) -> list[tuple[int, int, int, int]]:
        """Return the boxes (x1, y1, x2, y2) around the regions above *threshold* times the maximum, the largest first.

        The default of *threshold* is that of `box`. Regions smaller than *least* times the image's area are left out;
        a volume has none.
        """
        return (
            []
            if self.map.ndim != 2 or self.signal is not None
            else heatmap.boxes(self.map, self.threshold if threshold is None else threshold, least)
        )

    def _placing_boxes(self) -> list[tuple[int, int, int, int]]:
        """Return the boxes of the map, without one that is all that the network sees: it shows no place."""
        return [one for one in self.boxes() if not self.is_all_seen(one)]

    def is_all_seen(self, box: tuple[int, int, int, int]) -> bool:
        """Return whether *box* is (nearly) all that the network sees."""
        height, width = self.map.shape
        x1, y1, x2, y2 = self.seen or (0, 0, width, height)
        whole = _ALL * (min(x2, width) - max(x1, 0)) * (min(y2, height) - max(y1, 0))
        return (box[2] - box[0]) * (box[3] - box[1]) >= whole

    @property
    def weights(self) -> list[dict[str, Any]] | None:
        """The parts of an input that is no image, and their values, without padding; None for an image."""
        if self.parts is None:
            return None
        pairs = zip(self.parts, self.map.tolist(), strict=True)
        return [{"part": part, "weight": round(weight, 4)} for part, weight in pairs if part]

    @property
    def along_time(self) -> NDArray[np.float32] | None:
        """The map along time, float32 [T]: of a spectrogram the largest magnitude at each time; None for no signal.

        Of a video it is the score of each frame, or the mean of its map, over the largest magnitude.
        """
        if self.clip is not None:
            return video.weights(self.clip, self.map)
        if self.signal is None:
            return None
        across = np.moveaxis(self.map, self.signal.time, 0).reshape(self.map.shape[self.signal.time], -1)
        return np.take_along_axis(across, np.abs(across).argmax(axis=1)[:, None], 1)[:, 0]

    @property
    def is_volume(self) -> bool:
        """Whether the image is a volume."""
        return self.map.ndim == 3 and self.clip is None

    @property
    def threshold(self) -> float:
        """The threshold of boxes that is not stated: 0.25, and 0.15 for a map of single pixels; see `box`."""
        return heatmap.OF_PIXELS if self.is_of_pixels else heatmap.THRESHOLD

    def box(self, threshold: float | None = None) -> tuple[int, int, int, int] | None:
        """Return the box (x1, y1, x2, y2) around the largest region above *threshold* times the maximum, or None.

        None is 0.25, and 0.15 for a map of single pixels. Measured by `python -m models.measure_boxes` on six networks
        whose truth is known and on photos with a detector's boxes: CAMs reach their best mean IoU, 0.51, from 0.2 to
        0.3, and 0.49 at 0.15, where the box of another image's map is larger and fits as well on photos. It is no
        detector: on photos that one object fills, the box of Grad-CAM fits hardly better than that of another photo
        (docs/decisions/0036-pictures.md).
        """
        return (
            None
            if self.map.ndim != 2 or self.signal is not None
            else heatmap.box(self.map, self.threshold if threshold is None else threshold)
        )

    @property
    def slug(self) -> str:
        """The target as part of a file name; of a class its index."""
        if self.target is not None and self.words in (self.label, str(self.target), f"#{self.target}"):
            return str(self.target)
        return _in_file_name(self.words)[:_LONGEST].rstrip("-")

    @property
    def stem(self) -> str:
        """The start of the names of files: the name of the image's file, or a checksum of the array."""
        if self.name:
            return self.name
        return f"explanation-{zlib.crc32(np.ascontiguousarray(self.image).tobytes()):08x}"

    def start(self, stem: str, slug: str | None = None) -> str:
        """Return the start of the names of files: *stem*, the target, the method, and a layer and settings that are
        given.

        *slug* takes the place of the target.
        """
        layer = _in_file_name(self.layer or "")[-_LONGEST:] if self.is_layer_named else ""
        variant = _in_file_name(self.variant)[:_LONGEST].rstrip("-")
        return "-".join(filter(None, [stem, slug or self.slug, self.method, layer, variant]))

    @takes_old_names(alpha="opacity")
    def save(
        self, directory: str | os.PathLike[str], stem: str | None = None, **drawing: Unpack[Drawing]
    ) -> dict[str, Path]:
        """Write the raw map (.npy), the overlay, and the map (.npy; of a NIfTI or DICOM volume .nii.gz); see `Drawing`.

        The names of the files begin with *stem*; None is `stem`, so that another image has other files.
        The overlay of an image whose longer side is below 224 pixels is enlarged by a whole number, each pixel to a
        square.
        All that is not stated is ``opacity="value", colormap=None, boxes=False, maps="all", format="png",
        quality=90``;
        there is no colour bar, no title and no image beside the overlay.

        Returns the paths by kind: ``"overlay"``, ``"map"``, ``"raw"``, and of a signal ``"time"``, the map along
        time as .csv; of a video ``"video"``, .mp4. OutputError where they cannot be written.
        """
        return write_encoded(Path(directory), self.encode(self.stem if stem is None else stem, **drawing))

    def encode(self, stem: str, **drawing: Unpack[Drawing]) -> dict[str, tuple[str, bytes]]:
        """Return the files that `save` writes: by kind the name and the content."""
        chosen: Drawing = {**EXACT, **drawing}
        check_drawing(chosen)
        start, maps = self.start(stem), chosen["maps"]
        found = {"raw": (f"{start}-raw.npy", npy(self.raw))}
        timed = self.signal or self.clip
        if timed is not None and self.along_time is not None:
            found["time"] = f"{start}-time.csv", _table(timed, self.along_time)
        if self.clip is not None and maps != "raw":
            content = video.encode(self.clip, self.shown, chosen["opacity"], chosen["colormap"], self.seen)
            found["video"] = f"{start}-overlay.mp4", content
        if maps == "all" and self.affine is None:
            found["map"] = f"{start}-map.npy", npy(self.map)
        elif maps == "all" and self.affine is not None:
            found["map"] = f"{start}-map.nii.gz", volume.encode(self.map, self.affine)
        if maps != "raw":
            name = f"{start}-overlay{SUFFIXES[chosen['format']]}"
            found["overlay"] = name, pictures.encode(self._pictured(chosen), Path(name), chosen["quality"])
        return found

    def _pictured(self, drawing: Drawing) -> NDArray[np.uint8]:
        """Return the overlay as *drawing* says, with its text and the image beside it."""
        opacity, colormap, boxes = drawing["opacity"], drawing["colormap"], drawing["boxes"]
        if not is_figure(drawing):
            times = readable.factor(self.map.shape) if self.map.ndim == 2 else 1
            return self.overlay(opacity, colormap, boxes, times)
        title = None if drawing["title"] == "auto" else drawing["title"] or ""
        look = MapLook(opacity, colormap, boxes)
        return of_one(self, look, colorbar=drawing["colorbar"], title=title, original=drawing["beside"]).image

    def _repr_png_(self) -> bytes:
        return explanation_html.png(self)

    def _repr_html_(self) -> str:
        return explanation_html.html(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "map": self.map, "map_at": None}


setattr(Explanation, "map", _Computed())  # noqa: B010


_ALL = 0.98
"""The share of what the network sees from which a box is all of it."""
_LONGEST = 60
"""The most characters of a target or a layer in the name of a file."""


def _in_file_name(words: str) -> str:
    """Return *words* with only what a shell takes as it is: ``box=9,9,44,44 class=0`` is ``box-9-9-44-44-class-0``."""
    return re.sub(r"[^\w.+]+", "-", words).strip("-")


def write_encoded(folder: Path, encoded: Mapping[str, tuple[str, bytes]]) -> dict[str, Path]:
    """Write *encoded* files, by kind the name and the content, into *folder*; return their paths by kind."""
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files.write_together({folder / name: data for name, data in encoded.values()})
    return {kind: folder / name for kind, (name, _) in encoded.items()}


def _table(signal: Signal | Clip, weights: NDArray[np.float32]) -> bytes:
    """Return the map along time as the content of a .csv file: the time and the weight of each sample."""
    columns = [signal.times, weights, *([signal.scores] if isinstance(signal, Clip) and signal.scores else [])]
    rows = (",".join(f"{one:.9g}" for one in row) for row in zip(*columns, strict=True))
    header = ",".join((signal.unit, "weight", "score")[: len(columns)])
    return "\n".join([header, *rows, ""]).encode()


def npy(array: NDArray[Any]) -> bytes:
    """Return *array* as the content of an .npy file."""
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()
