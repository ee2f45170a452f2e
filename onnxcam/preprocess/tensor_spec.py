"""The image input of a model: element type, layout, channels and size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import onnx_ir as ir

from onnxcam.errors import PreprocessError
from onnxcam.graph.quantisation import units
from onnxcam.structure.layout import FEATURES

__all__ = [
    "DEFAULT_SIZE",
    "AxisLength",
    "AxisOrder",
    "TensorSpec",
    "layout_of",
    "refuse_encoded",
    "shape_text",
]

AxisOrder = Literal["nchw", "nhwc"]
AxisLength = int | str | None

DEFAULT_SIZE = 224
"""Height and width, in pixels, if neither the preprocessing nor the model gives one."""


@dataclass(frozen=True)
class TensorSpec:
    """The image input of a model. A dim is a number, or a name or None if the model does not fix it."""

    name: str
    dtype: np.dtype
    shape: tuple[AxisLength, ...]
    layout: AxisOrder
    units: tuple[float, int] | None = None  # scale and zero point of integers, if the graph gives them
    tiled: bool = False  # images keep their own size: windows of the input's size are laid over them

    @classmethod
    def of(cls, value: ir.Value) -> TensorSpec:
        """Describe a graph input. Raises PreprocessError if it cannot take an image."""
        name = value.name or ""
        refuse_encoded(value)
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
    def make(
        cls, name: str, dtype: np.dtype, shape: tuple[AxisLength, ...], layout: AxisOrder | None = None
    ) -> TensorSpec:
        """Return a spec; the default layout is that of `layout_of`. Raises PreprocessError."""
        if len(shape) != 4:
            raise PreprocessError(
                f"input '{name}' {shape_text(shape)} is no image, which has 4 dims; "
                "pass a tensor to `attribute` instead"
            )
        if dtype.kind in "bOSUc":
            raise PreprocessError(
                f"input '{name}' takes {dtype} elements, an image has numbers; pass a tensor to `attribute` instead"
            )
        # Paddle and old exporters write an open dim as -1 or 0.
        shape = tuple(None if isinstance(dim, int) and dim <= 0 else dim for dim in shape)
        return cls(name, dtype, shape, layout or layout_of(shape))

    def as_tile(self) -> TensorSpec:
        """Return the input as one that takes windows of images of any size."""
        space = (2, 3) if self.layout == "nchw" else (1, 2)
        shape = tuple(None if axis in space else dim for axis, dim in enumerate(self.shape))
        return replace(self, shape=shape, tiled=True)

    @property
    def channels(self) -> int:
        """1 or 3; 3 if the model does not fix it. Raises PreprocessError for another number."""
        found = self.shape[1 if self.layout == "nchw" else 3]
        if isinstance(found, int) and found >= FEATURES and not {1, 3} & set(self.shape[1:]):
            raise PreprocessError(
                f"input '{self.name}' {shape_text(self.shape)} takes {found} features of another model, not an image: "
                "explain the file of that encoder, or both joined by onnx.compose.merge_models, or pass a tensor to "
                "`attribute`"
            )
        if isinstance(found, int) and found not in (1, 3):
            raise PreprocessError(
                f"input '{self.name}' {shape_text(self.shape)} has {found} channels in {self.layout} layout, "
                "an image has 3 or 1; correct layout=, or pass a tensor to `attribute`"
            )
        return found if isinstance(found, int) else 3

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) in pixels; None if the model does not fix it."""
        height, width = self.shape[2:] if self.layout == "nchw" else self.shape[1:3]
        return (height if isinstance(height, int) else None, width if isinstance(width, int) else None)

    @property
    def normalises(self) -> bool:
        """Whether range, mean and std apply: to floats, and to integers of known scale."""
        return self.dtype.kind not in "iu" or self.units is not None


def layout_of(shape: tuple[AxisLength, ...]) -> AxisOrder:
    """Return the layout of a 4-D shape.

    The channel axis is the one of axes 1 and 3 with length 3, else 1, else 4. If neither has, it is axis 3 if axis 1 is
    fixed and axis 3 is not; else axis 1.
    """
    for channels in (3, 1, 4):
        if channels in (shape[1], shape[3]):
            return "nchw" if shape[1] == channels else "nhwc"
    return "nhwc" if isinstance(shape[1], int) and not isinstance(shape[3], int) else "nchw"


def shape_text(shape: tuple[AxisLength, ...]) -> str:
    """Write a shape for messages: ``1x3xHxW``, with ``?`` for a dim without a name."""
    return "x".join("?" if dim is None else str(dim) for dim in shape)


def _layout_by_use(value: ir.Value) -> AxisOrder | None:
    """Return nhwc for an input that the model first transposes to nchw; else None."""
    for node in value.consumers():
        perm = node.attributes.get_ints("perm", None) if node.op_type == "Transpose" else None
        if perm is not None and tuple(perm) == (0, 3, 1, 2):
            return "nhwc"
    return None


def refuse_encoded(value: ir.Value) -> None:
    """Raise PreprocessError where *value* takes the bytes [N] of an image file, which a custom operator decodes."""
    if value.dtype != ir.DataType.UINT8 or value.shape is None or len(value.shape) != 1:
        return
    decoder = next((node for node in value.consumers() if node.domain and node.op_type == "DecodeImage"), None)
    if decoder is not None:
        raise PreprocessError(
            f"input '{value.name}' takes the bytes of an encoded image, which the custom operator {decoder.domain}::"
            f"{decoder.op_type} decodes inside, and no gradient goes back through it; explain the network behind: cut "
            "it out at the image tensor before its first Conv, by onnx.utils.extract_model(FILE, "
            '"network.onnx", [TENSOR], [OUTPUT], check_model=False)'
        )
