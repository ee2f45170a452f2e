"""A model in canonical form, with its image input and the input that is explained."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.errors import ModelError
from onnxcam.graph.cache import GraphCache
from onnxcam.graph.io import ModelLike, restored
from onnxcam.graph.operators import Trait, operators
from onnxcam.metadata.reserved import load_bare
from onnxcam.model.containers import unpack_outputs
from onnxcam.model.input_size import fix_size
from onnxcam.model.unbatched import add_batch_axis
from onnxcam.passes import canonical
from onnxcam.passes.declared import is_proven
from onnxcam.structure.layout import picture_input, picture_layout
from onnxcam.targets.text_parts import TextParts

__all__ = ["PreparedModel"]


@dataclass(frozen=True)
class PreparedModel:
    """A canonical model that its owner may edit.

    Attributes:
        model: The model.
        image: Its image input.
        explained: The input that maps explain: *image*, or one of words or numbers.
    """

    model: ir.Model
    image: ir.Value
    explained: ir.Value

    @classmethod
    def open(
        cls,
        source: ModelLike,
        explained: str | None = None,
        size: tuple[int, ...] | None = None,
        cache: GraphCache | None = None,
    ) -> PreparedModel:
        """Open *source*, with the image input fixed to *size* (height, width), from *cache* if it is there.

        ModelError where no input is an image, the model is a text tower, no input is named *explained*, or it has
        another fixed size.
        """
        question = ("canonical", STANDARD.fingerprint, explained, size)
        kept = None if cache is None else cache.find(*question)
        if cache is not None and kept is not None:
            return cls.of(restored(kept.data, cache.model), explained)
        model = load_bare(source)
        if size is not None:
            fix_size(model, size, explained)
        model = canonical(model, STANDARD)
        if cache is not None and STANDARD.fingerprint is not None and is_proven(model):
            cache.keep(model, {}, *question)
        return cls.of(model, explained)

    @classmethod
    def of(cls, model: ir.Model, explained: str | None = None) -> PreparedModel:
        """Find the image input of a canonical *model*: *explained*, unless only another input has spatial axes."""
        unpack_outputs(model)
        add_batch_axis(model)
        if explained is None:
            _refuse_text(model.graph)
        wanted = picture_input(model.graph, explained)
        if picture_layout(wanted) is None and any(picture_layout(x) is not None for x in model.graph.inputs):
            return cls(model, picture_input(model.graph), wanted)
        return cls(model, wanted, wanted)

    @property
    def batch(self) -> int | ir.SymbolicDim | None:
        """The batch size: an int where it is fixed, None for an input without axes."""
        return self.image.shape[0] if self.image.shape is not None and len(self.image.shape) else None

    def twin(self) -> PreparedModel:
        """Return a copy that can be edited by itself."""
        return PreparedModel.of(self.model.clone(), self.explained.name)

    def differentiable(self) -> ir.Value:
        """Return the tensor by which the score is differentiated: the explained input, or the embeddings of its words.

        ModelError where the input holds integers that no Gather turns into embeddings.
        """
        dtype = self.explained.dtype
        if self.explained is self.image or dtype is None or dtype.is_floating_point():
            return self.explained
        open_values = [self.explained]
        while open_values:
            for node, position in open_values.pop().uses():
                if node.op_type == "Gather" and position == 1:
                    return node.outputs[0]
                if node.op_type in _MOVED and position == 0:
                    open_values.append(node.outputs[0])
        raise ModelError(
            f"input {self.explained.name!r} holds integers that no table turns into vectors, so it has no gradient; "
            "name another input (wrt=, --wrt)"
        )


def _refuse_text(graph: ir.Graph) -> None:
    """Raise ModelError for a text tower: its tokens are explained only where the user names them."""
    text = TextParts.of(graph)
    if text is not None and text.is_all(graph):
        raise ModelError(
            f"the model takes no image: {text.tokens.name!r} are the tokens of a text, so it is the text tower of "
            "another model: give it with --text-model, and the image tower as the model"
        )


_MOVED = operators(Trait.COPIES | Trait.RESHAPES) | {"Slice"}
"""Operators that pass indices on to the Gather that embeds them."""
