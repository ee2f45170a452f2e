"""The model's input as a picture sees it: element type, layout, channels and size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxcam.errors import PreprocessError
from onnxcam.graph.quantisation import units

Layout = Literal["nchw", "nhwc"]
Dim = int | str | None

DEFAULT_SIZE = 224
"""The height or width where neither the preprocessing nor the model states one."""


@dataclass(frozen=True)
class TensorSpec:
    """A model's picture input. A dim is a number, or a name or None where the model leaves it open."""

    name: str
    dtype: np.dtype
    shape: tuple[Dim, ...]
    layout: Layout
    units: tuple[float, int] | None = None  # scale and zero point, where the graph says what its integers mean

    @classmethod
    def of(cls, value: ir.Value) -> TensorSpec:
        """Describe a graph input. Raises PreprocessError where a picture cannot become such a tensor."""
        name = value.name or ""
        if value.shape is None or value.dtype is None:
            raise PreprocessError(f"input '{name}' states no shape and type; pass a tensor to `attribute` instead")
        try:
            dtype = value.dtype.numpy()
        except TypeError:
            dtype = np.dtype(object)  # strings, refused by `make`
        shape = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
        spec = cls.make(name, dtype, shape, _layout_by_use(value))
        known = units(value) if dtype.kind in "iu" else None
        return spec if known is None else replace(spec, units=known.known)

    @classmethod
    def make(cls, name: str, dtype: np.dtype, shape: tuple[Dim, ...], layout: Layout | None = None) -> TensorSpec:
        """Build a spec whose layout, unless given, is found by `layout_of`. Raises PreprocessError."""
        if len(shape) != 4:
            raise PreprocessError(
                f"input '{name}' {shape_text(shape)} is no picture, which has 4 dims; "
                "pass a tensor to `attribute` instead"
            )
        if dtype.kind in "bOSUc":
            raise PreprocessError(
                f"input '{name}' takes {dtype} elements, a picture has numbers; pass a tensor to `attribute` instead"
            )
        # Paddle and old exporters write an open dim as -1 or 0.
        shape = tuple(None if isinstance(dim, int) and dim <= 0 else dim for dim in shape)
        return cls(name, dtype, shape, layout or layout_of(shape))

    @property
    def channels(self) -> int:
        """1 or 3, and 3 where the model leaves it open. Raises PreprocessError for any other number."""
        found = self.shape[1 if self.layout == "nchw" else 3]
        if isinstance(found, int) and found not in (1, 3):
            raise PreprocessError(
                f"input '{self.name}' {shape_text(self.shape)} has {found} channels in {self.layout} layout, "
                "a picture has 3 or 1; correct layout=, or pass a tensor to `attribute`"
            )
        return found if isinstance(found, int) else 3

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels, None where the model leaves it open."""
        height, width = self.shape[2:] if self.layout == "nchw" else self.shape[1:3]
        return (height if isinstance(height, int) else None, width if isinstance(width, int) else None)

    @property
    def normalises(self) -> bool:
        """Whether range, mean and std apply: to real numbers, as floats or in known units."""
        return self.dtype.kind not in "iu" or self.units is not None


def layout_of(shape: tuple[Dim, ...]) -> Layout:
    """Say which axis of a 4-D shape holds the channels.

    The one of dim 1 and dim 3 that is 3, else 1, else 4; where no dim tells, a channel count that is left
    open is sought on the side whose spatial dims are not fixed; else nchw.
    """
    for channels in (3, 1, 4):
        if channels in (shape[1], shape[3]):
            return "nchw" if shape[1] == channels else "nhwc"
    return "nhwc" if isinstance(shape[1], int) and not isinstance(shape[3], int) else "nchw"


def shape_text(shape: tuple[Dim, ...]) -> str:
    """Write a shape as users know it: ``1x3xHxW``, with ``?`` for a nameless dim."""
    return "x".join("?" if dim is None else str(dim) for dim in shape)


def _layout_by_use(value: ir.Value) -> Layout | None:
    """A model that first transposes its input to nchw says its layout, whatever its shape."""
    for node in value.consumers():
        perm = node.attributes.get_ints("perm", None) if node.op_type == "Transpose" else None
        if perm is not None and tuple(perm) == (0, 3, 1, 2):
            return "nhwc"
    return None
