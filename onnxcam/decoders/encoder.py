"""The image encoder of a decoder: how an image becomes its tensor, and how many embeddings it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.decoders.meeting import pixels
from onnxcam.decoders.view import EncoderView
from onnxcam.engine import Session
from onnxcam.errors import EngineError, ModelError
from onnxcam.metadata import sidecar
from onnxcam.preprocess import Preprocess, ResolvedPreprocess, Spec, TensorSpec, resolve
from onnxcam.preprocess.transform import CallablePreprocess
from onnxcam.text import visible

__all__ = ["Encoder"]

_PROBE = np.full((64, 64, 3), 127, np.uint8)


@dataclass(frozen=True)
class Encoder:
    """The encoder *model*, which takes one image, how it sees it, and the preprocessing of images."""

    model: ir.Model
    view: EncoderView
    resolved: ResolvedPreprocess

    @classmethod
    def of(cls, model: ir.Model, path: Path, spec: Spec | None, tiles: tuple[int, int]) -> Encoder:
        """Find the preprocessing, *spec*, else by files beside *path*, else a guess; *model* is changed to its view.

        The preprocessing is that of one tile where *tiles*, rows and columns, are several. ModelError where the image
        is not made of whole patches, or patches should be cut into tiles.
        """
        image, metadata = pixels(model.graph.inputs), dict(model.metadata_props)
        shape: list[Any] = list(image.shape or ())
        view = EncoderView(0, 0)
        if len(shape) == 2:
            view = _patches(shape, path)
            side = isqrt(shape[0]) * view.patch if isinstance(shape[0], int) and isqrt(shape[0]) ** 2 == shape[0] else 0
            shape = [1, 3, side or "height", side or "width"]
        whole = ir.Shape([shape[0], *shape[-3:]])
        tensor = TensorSpec.of(ir.Value(name=image.name, shape=whole, type=image.type))
        hint = None if view.patch else image
        resolved = resolve(spec, tensor, path=path, metadata=metadata, graph_hint=hint, whole=True)
        height, width = (int(length) for length in resolved.preprocess(_PROBE).shape[-2:])
        if tiles != (1, 1):
            height, width = height * tiles[0], width * tiles[1]
            resolved = replace(resolved, preprocess=_enlarged(resolved.preprocess, (height, width), view))
        view = replace(view, height=height, width=width, rows=tiles[0], columns=tiles[1])
        _check(view, image)
        view.apply(model)
        return cls(model, view, resolved)

    @property
    def words(self) -> str | None:
        """The preprocessing as text; None where it was guessed, or is a function."""
        said = str(self.resolved.preprocess)
        return None if self.resolved.guessed or said.startswith("function ") else said

    def measure(self, features: str) -> tuple[int, int]:
        """Return the number and the width of the embeddings of one image, by a run."""
        (image,) = self.model.graph.inputs
        feeds = {image.name or "": self.resolved.preprocess(_PROBE)}
        try:
            found = Session(self.model).run(feeds, [features])[features]
        except EngineError as error:
            what = f"in {self.view.rows} × {self.view.columns} tiles" if self.view.count > 1 else "in one picture"
            raise ModelError(
                f"the part 'vision' does not run for an image of {self.view.height} × {self.view.width} {what}; give "
                "the size of its export with --preprocess resize=HEIGHTxWIDTH (preprocess=), and no --tiles (tiles=) "
                f"where their number is fixed: {visible(str(error), 300)}"
            ) from None
        return found.size // found.shape[-1], int(found.shape[-1])

    def grid(self, count: int) -> tuple[int, int]:
        """Return rows and columns of *count* tokens of the image, all tiles together."""
        height, width = self.view.height, self.view.width
        if self.view.count > 1:
            each = isqrt(count // self.view.count)
            return each * self.view.rows, each * self.view.columns
        rows = max(1, round((count * height / width) ** 0.5))
        return rows, count // rows


def _patches(shape: list[Any], path: Path) -> EncoderView:
    """Return how an image becomes patches [L, D], by preprocessor_config.json and config.json; else as Qwen2-VL."""
    said, config = sidecar.beside(path, "preprocessor_config.json"), sidecar.beside(path, "config.json")
    vision: dict[str, Any] = found if isinstance(found := config.get("vision_config"), dict) else {}
    frames = int(said.get("temporal_patch_size") or vision.get("temporal_patch_size") or 2)
    merge = int(said.get("merge_size") or vision.get("spatial_merge_size") or 2)
    length = shape[1] if isinstance(shape[1], int) else 0
    patch = int(said.get("patch_size") or vision.get("patch_size") or isqrt(length // (3 * frames)))
    if not patch or (length and length != 3 * frames * patch**2):
        raise ModelError(
            f"the part 'vision' takes patches {ir.Shape(shape)}, and not 3 × {frames} × {patch} × {patch} numbers each "
            "as preprocessor_config.json says (temporal_patch_size, patch_size); give the files of one export"
        )
    return EncoderView(0, 0, patch=patch, merge=merge, frames=frames)


def _enlarged(preprocess: Any, size: tuple[int, int], view: EncoderView) -> Preprocess:
    """Return *preprocess* for an image of *size*, which is several tiles."""
    if view.patch or not isinstance(preprocess, Preprocess) or isinstance(preprocess, CallablePreprocess):
        what = "takes patches of a whole image" if view.patch else "has a function as its preprocessing"
        raise ModelError(f"the part 'vision' {what}, so it has no tiles; leave out --tiles (tiles=)")
    if preprocess.letterbox is not None:
        return replace(preprocess, letterbox=size)
    return replace(preprocess, resize=size, crop=None, longest=None)


def _check(view: EncoderView, image: ir.Value) -> None:
    unit = view.patch * view.merge
    if unit and (view.height % unit or view.width % unit):
        raise ModelError(
            f"the encoder takes patches of {view.patch} × {view.patch} pixels in blocks of {view.merge} × {view.merge}"
            f", and the image has {view.height} × {view.width}; both sides are multiples of {unit}: state one with "
            f'--preprocess "resize={16 * unit}x{16 * unit}" (preprocess=)'
        )
    count, taken = view.height * view.width // max(view.patch, 1) ** 2, (image.shape or [None])[0]
    if unit and isinstance(taken, int) and taken != count:
        raise ModelError(
            f"the encoder takes {taken} patches of {view.patch} × {view.patch} pixels, and an image of {view.height} × "
            f"{view.width} gives {count}; state its size with --preprocess resize=HEIGHTxWIDTH (preprocess=)"
        )
