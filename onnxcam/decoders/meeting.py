"""Where the parts of a decoder meet: the tensors that one part gives and the next takes, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxcam.errors import ModelError

__all__ = ["JoinedParts", "PromptEncoder", "check_widths", "find_meeting", "is_grid", "is_mask", "pixels"]

_STATES, _DEEP = "encoder_hidden_states", "deepstack"


@dataclass(frozen=True)
class PromptEncoder:
    """The names of an encoder's input of embeddings, [N, L, H], and of its output of states, [N, L, H]."""

    embeds: str
    states: str


@dataclass(frozen=True)
class JoinedParts:
    """The models of the parts, and the names of the tensors that meet.

    Attributes:
        models: The models by part.
        features: The encoder's output: embeddings of the image, [T, H] or [N, T, H].
        embeds: The decoder's input of embeddings, [N, L, H]; None where it takes tokens.
        logits: The decoder's output of scores, [N, L, V].
        hidden: The decoder's input of states that it reads by cross-attention, [N, K, H]; None where it has none.
        encoder: The encoder that reads image and prompt before the decoder; None where there is none.
        deep: By the decoder's inputs [N, L, H] that are added at the image's tokens behind its first layers, the
            encoder's outputs [T, H] for them: DeepStack (2406.04334), of Qwen3-VL.
    """

    models: Mapping[str, ir.Model]
    features: str
    embeds: str | None
    logits: str
    hidden: str | None = None
    encoder: PromptEncoder | None = None
    deep: Mapping[str, str] = field(default_factory=dict)


def find_meeting(models: Mapping[str, ir.Model]) -> JoinedParts:
    """Return where *models* meet; ModelError for a model that is no such part, or one that is missing."""
    vision, decoder = models["vision"].graph, models["decoder"].graph
    pixels(vision.inputs)
    outputs = [y for y in _floats(vision.outputs, (2, 3, 4)) if _DEEP not in (y.name or "")]
    features = _first(outputs, "image_features", "image_embeds", "last_hidden_state")
    if features is None:
        raise _no_part("vision", "an encoder that gives embeddings [T, H] or [N, T, H]", vision)
    hidden = next((x.name for x in _floats(decoder.inputs, (3,)) if x.name == _STATES), None)
    takes = [x for x in _floats(decoder.inputs, (3,)) if not _is_past(x) and x.name != hidden]
    takes = [x for x in takes if _DEEP not in (x.name or "")]
    embeds = _first(takes, "inputs_embeds", "decoder_inputs_embeds")
    logits = _first([y for y in _floats(decoder.outputs, (3,)) if not _is_past(y)], "logits")
    if logits is None or (embeds is None and hidden is None):
        raise _no_part("decoder", "a decoder, from embeddings [N, L, H] to scores [N, L, V]", decoder)
    if embeds is None:
        return JoinedParts(models, features, None, logits, hidden)
    if "embed" not in models:
        raise ModelError("the part 'embed' is missing; give --part embed=FILE, or the folder that holds all parts")
    embed = models["embed"].graph
    if len(embed.inputs) != 1 or not _is_integer(embed.inputs[0]) or not _floats(embed.outputs, (3,)):
        raise _no_part("embed", "a table of embeddings, from tokens [N, L] to [N, L, H]", embed)
    encoder = None if hidden is None else _encoder(models)
    return JoinedParts(models, features, embeds, logits, hidden, encoder, _deep(vision, decoder))


def _deep(vision: ir.Graph, decoder: ir.Graph) -> dict[str, str]:
    taken = [x.name or "" for x in _floats(decoder.inputs, (3,)) if _DEEP in (x.name or "")]
    given = [y.name or "" for y in _floats(vision.outputs, (2,)) if _DEEP in (y.name or "")]
    if taken and len(taken) != len(given):
        raise ModelError(
            f"the part 'decoder' takes {', '.join(taken)}, [N, L, H] each, and the part 'vision' gives "
            f"{', '.join(given) or 'none of them'}, [T, H] each; give parts of one export"
        )
    return dict(zip(taken, given, strict=True)) if taken else {}


def _encoder(models: Mapping[str, ir.Model]) -> PromptEncoder:
    if "encoder" not in models:
        raise ModelError(
            f"the part 'decoder' takes {_STATES}, which the part 'encoder' gives, and it is missing; give --part "
            "encoder=FILE, or the folder that holds all parts"
        )
    graph = models["encoder"].graph
    embeds, states = _first(_floats(graph.inputs, (3,)), "inputs_embeds"), _first(_floats(graph.outputs, (3,)))
    if embeds is None or states is None:
        raise _no_part("encoder", "an encoder, from embeddings [N, L, H] to states [N, L, H]", graph)
    return PromptEncoder(embeds, states)


def check_widths(parts: JoinedParts, width: int) -> None:
    """Raise ModelError where the embeddings of the parts differ in their number of channels."""
    name = parts.hidden if parts.embeds is None else parts.embeds
    taken = next(x for x in parts.models["decoder"].graph.inputs if x.name == name)
    embed = {} if parts.embeds is None else {"embed": _width(parts.models["embed"].graph.outputs[0])}
    widths = {"vision": width, **embed, "decoder": _width(taken)}
    known = {name: width for name, width in widths.items() if width is not None}
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{name!r} {width}" for name, width in known.items())
        raise ModelError(
            f"the parts do not belong together: the width of the embeddings is {listed}; give parts of one export"
        )


def pixels(inputs: Sequence[ir.Value]) -> ir.Value:
    """Return the encoder's input of images, [N, C, H, W] or [N, K, C, H, W], or of their patches, [L, C · T · P · P].

    ModelError where there is none.
    """
    found = [x for x in inputs if not _is_integer(x) and x.shape is not None and len(x.shape) in (2, 4, 5)]
    found = [x for x in found if not is_mask(x)]
    if len(found) != 1:
        there = ", ".join(f"{x.name} {x.shape}" for x in inputs) or "none"
        raise ModelError(
            "the part 'vision' is no encoder of images [N, C, H, W], sets of images [N, K, C, H, W] or patches [L, D]: "
            f"its inputs are {there}; name the encoder with --part vision=FILE"
        )
    return found[0]


def is_mask(x: ir.Value) -> bool:
    """Return whether an encoder's input says which pixels are no padding, [N, K, H, W]."""
    return x.dtype is not None and x.shape is not None and len(x.shape) == 4 and "attention_mask" in (x.name or "")


def is_grid(x: ir.Value) -> bool:
    """Return whether an encoder's input says how many patches an image has along time, rows and columns, [N, 3]."""
    return _is_integer(x) and x.shape is not None and len(x.shape) == 2 and "grid" in (x.name or "")


def _is_integer(x: ir.Value) -> bool:
    return x.dtype is not None and x.dtype.is_integer()


def _is_past(x: ir.Value) -> bool:
    return (x.name or "").startswith(("past", "present"))


def _floats(some: Iterable[ir.Value], ranks: Sequence[int]) -> list[ir.Value]:
    found = [x for x in some if x.dtype is not None and x.dtype.is_floating_point()]
    return [x for x in found if x.shape is None or len(x.shape) in ranks]


def _first(some: Sequence[ir.Value], *names: str) -> str | None:
    """Return the name of the tensor with the first of *names* that is there, else of the first tensor."""
    there = [x.name or "" for x in some]
    return next((name for name in names if name in there), there[0] if there else None)


def _width(x: ir.Value) -> int | None:
    width = x.shape[-1] if x.shape is not None and len(x.shape) else None
    return width if isinstance(width, int) else None


def _no_part(name: str, what: str, graph: ir.Graph) -> ModelError:
    ends = [", ".join(f"{x.name} {x.shape}" for x in some) or "none" for some in (graph.inputs[:4], graph.outputs[:4])]
    return ModelError(
        f"the part {name!r} is not {what}: its first inputs are {ends[0]}, its first outputs {ends[1]}; name the file "
        f"with --part {name}=FILE"
    )
