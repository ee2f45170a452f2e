"""How an encoder sees an image: as it is, in tiles beside the whole, or as a list of patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.decoders.meeting import is_grid, is_mask, pixels
from onnxcam.errors import ModelError
from onnxcam.graph.emitter import Emitter

__all__ = ["EncoderView"]


@dataclass(frozen=True)
class EncoderView:
    """The tensors of an encoder, made of one image [1, C, height, width].

    The encoder's part before them only moves and averages pixels, so a map of the image is stitched by the gradient.

    Attributes:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        rows: The image is cut into rows × columns tiles, row by row, and the whole follows at the size of a tile.
        columns: See *rows*; 1 × 1 is the whole alone.
        patch: The side of a patch in pixels; 0 where the encoder takes images. The list of patches has the order of
            Qwen2-VL: block by block of merge × merge.
        merge: The side of a block of patches that becomes one token.
        frames: How often a patch is repeated along time.
    """

    height: int
    width: int
    rows: int = 1
    columns: int = 1
    patch: int = 0
    merge: int = 1
    frames: int = 1

    @classmethod
    def of(cls, written: Mapping[str, int]) -> EncoderView:
        """Return the view of `written`."""
        return cls(**written)

    @property
    def written(self) -> dict[str, int]:
        """The view as numbers."""
        return asdict(self)

    @property
    def count(self) -> int:
        """The number of pictures that the encoder sees: tiles and the whole."""
        return self.rows * self.columns + 1 if self.rows * self.columns > 1 else 1

    @property
    def tile(self) -> tuple[int, int]:
        """Height and width of each picture."""
        return self.height // self.rows, self.width // self.columns

    def apply(self, model: ir.Model) -> None:
        """Give the encoder *model*, in place, one input: an image [1, C, height, width].

        ModelError for an input of unknown meaning.
        """
        own, given = pixels(model.graph.inputs), list(model.graph.inputs)
        op = Emitter(model.graph, "view")
        channels = 3 if self.patch else list(own.shape or ())[-3]
        image = ir.Value(name=own.name, shape=ir.Shape([1, channels, self.height, self.width]), type=own.type)
        own.name = f"{own.name}.seen"
        model.graph.inputs.clear()
        model.graph.inputs.append(image)
        for x in given:
            made = self._pictures(op, image, x) if x is own else self._other(op, x)
            x.replace_all_uses_with(made)
            op.place([made])
        model.graph.sort()

    def _pictures(self, op: Emitter, image: ir.Value, like: ir.Value) -> ir.Value:
        found = self._patches(op, image) if self.patch else self._tiles(op, image)
        return op.Unsqueeze(found, [0]) if len(like.shape or ()) == 5 else found

    def _tiles(self, op: Emitter, image: ir.Value) -> ir.Value:
        """Return the image, or its tiles and the mean over each rows × columns pixels, [K, C, h, w]."""
        if self.count == 1:
            return image
        (height, width), grid = self.tile, [self.rows, self.columns]
        cells = op.Reshape(image, [-1, self.rows, height, self.columns, width])
        tiles = op.Reshape(op.Transpose(cells, perm=[1, 3, 0, 2, 4]), [self.count - 1, -1, height, width])
        return op.Concat(tiles, op.AveragePool(image, kernel_shape=grid, strides=grid), axis=0)

    def _patches(self, op: Emitter, image: ir.Value) -> ir.Value:
        """Return the patches [L, C · frames · patch · patch]."""
        side, merge, (rows, columns) = self.patch, self.merge, self._blocks
        blocks = op.Reshape(image, [-1, rows, merge, side, columns, merge, side])
        blocks = op.Transpose(blocks, perm=[1, 4, 2, 5, 0, 3, 6])  # row, column, row, column in the block, C, P, P
        frames = op.Expand(op.Reshape(blocks, [-1, 3, 1, side * side]), [1, 1, self.frames, 1])
        return op.Reshape(frames, [rows * columns * merge**2, -1])

    @property
    def _blocks(self) -> tuple[int, int]:
        """Rows and columns of the blocks."""
        return self.height // (self.patch * self.merge), self.width // (self.patch * self.merge)

    def _other(self, op: Emitter, x: ir.Value) -> ir.Value:
        assert x.dtype is not None
        if is_mask(x):
            return op.Expand(op.const(np.ones(1, x.dtype.numpy())), [1, self.count, *self.tile])
        if is_grid(x) and self.patch:
            grid = [[1, *(length * self.merge for length in self._blocks)]]
            return op.const(np.array(grid, x.dtype.numpy()))
        raise ModelError(
            f"the part 'vision' has an input {x.name!r} {x.shape} of unknown meaning; known are an image and its mask "
            "of pixels, or patches and their grid"
        )
