"""The layer that ``auto`` chooses: the last activation with spatial axes at which the target's gradient is not zero.

In a CNN it is the last rectified convolution, in a transformer the last normalised tokens that still influence the
class token. Runs locate activations whose place in the image the graph does not show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import GradientError, LayerError
from onnxcam.structure.layer import Choice, Layer, LayoutProbe, Probe, candidates, has_extent, lengthened, named, tail
from onnxcam.structure.layout import Layout, TokenLayout
from onnxcam.structure.propagate import layouts
from onnxcam.structure.unplaced import last, origin, unplaced

__all__ = ["PROBED", "RUNNERS_UP", "choose", "located", "widest"]

RUNNERS_UP = 4
_LOCATED = (16, 32, 64)  # tensors whose layout is probed in each round, from the last one backwards
PROBED = 12  # `auto` examines this many token layers, from the last one backwards; if all are dead, more


def choose(
    graph: ir.Graph,
    image: ir.Value,
    scores: ir.Value,
    rules: RuleSet,
    name: str | None = None,
    probe: Probe | None = None,
    layout_probe: LayoutProbe | None = None,
) -> Choice:
    """Return the layer called *name*; for None and ``"auto"`` the last suitable one.

    *probe* measures gradients if the last layer may see too little of them, as in a transformer whose last blocks pass
    on the class token only. *layout_probe* finds layouts that the graph does not show. LayerError if there is no such
    layer.
    """
    if name is not None and name != "auto":
        return Choice(named(graph, image, name, rules, layout_probe), "by name", source="user")
    for found in _rounds(graph, image, scores, rules, layout_probe):  # until one has a layer that the graph hides
        if not found.layers:
            raise LayerError(_no_layer(graph, image, scores, rules))
        choice = _suitable(graph, image, scores, rules, found.layers, probe)
        if choice is not None and choice.layer.value not in found.shown:
            break
    if choice is None:
        raise GradientError("the target depends on none of the last layers; name the layer to explain with --layer")
    run = bool(found.known) and choice.layer.value not in layouts(graph, image, rules)
    beside = _beside(choice.layer, scores, found.layers, dependents(graph, [image], rules))
    return replace(choice, reason=choice.reason + beside + _behind(found.lost), source="run" if run else "graph")


def _suitable(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, layers: Sequence[Layer], probe: Probe | None
) -> Choice | None:
    """Return the last layer on which the target depends, None where there is none."""
    if probe is not None and (
        isinstance(layers[0].layout, TokenLayout) or _is_bypassed(layers[0], graph, image, scores, rules)
    ):
        parts = (layers[:PROBED], layers[PROBED : 8 * PROBED])
        return next((choice for some in parts if some and (choice := _alive(some, probe)) is not None), None)
    return Choice(
        layers[0],
        "the last activation with spatial extent before the class scores",
        tuple(layers[1 : RUNNERS_UP + 1]),
    )


@dataclass(frozen=True)
class _Located:
    """The candidates, those of them that the graph *shows*, and the layouts that runs have shown."""

    layers: list[Layer]
    shown: frozenset[ir.Value]
    known: dict[ir.Value, Layout] = field(default_factory=dict)
    lost: list[ir.Value] = field(default_factory=list)  # activations behind them that have no layout


def located(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, layout_probe: LayoutProbe | None
) -> list[Layer]:
    """Return `candidates`, with those whose layout *layout_probe* finds first."""
    return next(_rounds(graph, image, scores, rules, layout_probe)).layers


def _rounds(
    graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet, layout_probe: LayoutProbe | None
) -> Iterator[_Located]:
    """Yield the candidates with the layouts that the last activations, then those before them, show in runs."""
    found = layouts(graph, image, rules)
    layers = candidates(graph, image, scores, rules, found=found)
    shown = frozenset(layer.value for layer in layers)
    known: dict[ir.Value, Layout] = {}
    lost: list[ir.Value] = []
    for probed in _probed(graph, image, scores, rules, layers, found, layout_probe):
        first = next((place for place, value in enumerate(probed) if probed[value] is not None), len(probed))
        new = {value: layout for value, layout in probed.items() if layout is not None}
        if not known:
            lost += [x for x in list(probed)[:first] if origin(x) not in found and origin(x) not in new]
        known |= new
        if new:
            yield _Located(candidates(graph, image, scores, rules, known), shown, dict(known), list(lost))
    if not known:
        yield _Located(layers, shown, {}, lost)


def _probed(
    graph: ir.Graph,
    image: ir.Value,
    scores: ir.Value,
    rules: RuleSet,
    layers: Sequence[Layer],
    found: Mapping[ir.Value, Layout],
    layout_probe: LayoutProbe | None,
) -> Iterator[dict[ir.Value, Layout | None]]:
    """Yield the layouts, found by runs, of activations behind *layers*, some at once, from the last ones."""
    placed = {value for layer in layers for value in (layer.value, layer.origin or layer.value)}
    apart = tail(scores) | lengthened(graph, image)
    apart |= {value for value, layout in found.items() if not has_extent(value, layout)}
    behind = [y for y in unplaced(graph, image, scores, rules, placed, apart) if y not in found]
    if layout_probe is None or all(origin(y) in placed for y in behind):
        return
    for count in _LOCATED:
        if behind:
            yield layout_probe(behind[:count])
            behind = behind[count:]


def _no_layer(graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet) -> str:
    if scores not in dependents(graph, [image], rules):
        return (
            f"{scores.name!r}, the target, does not depend on the image {image.name!r}; name another target, or with "
            "--wrt another input to explain"
        )
    return (
        "the model has no activation with spatial extent between the image and the class scores; "
        "use --method gradient, which needs none"
    )


def _beside(layer: Layer, scores: ir.Value, layers: Sequence[Layer], active: set[ir.Value]) -> str:
    """Return in words which other layers reach the scores past *layer*."""
    ends = last(scores, {one.origin or one.value for one in layers}, active)
    sides = [one for one in layers if (one.origin or one.value) in ends and one.value is not layer.value]
    if (layer.origin or layer.value) not in ends or not sides:
        return ""
    return f"; the map shows this branch alone, beside it the scores depend on {_names(sides)}"


def _behind(lost: Sequence[ir.Value]) -> str:
    """Return in words which activations behind the layer were passed over."""
    if not lost:
        return ""
    return f"; behind it the place of {len(lost)} activations in the image is not known, such as {lost[0].name!r}"


def _names(layers: Sequence[Layer]) -> str:
    return ", ".join(repr(layer.name) for layer in layers[:3]) + (" and others" if len(layers) > 3 else "")


def _alive(layers: Sequence[Layer], probe: Probe) -> Choice | None:
    """Return the last of *layers* with a nonzero gradient, if any: in most cells for tokens, in any cell for a grid.

    After its last attention a transformer may pass on a few tokens only; in a grid the target may be a single position.
    """
    pairs = zip(layers, probe(layers), strict=True)
    alive = [layer for layer, share in pairs if share > (0.5 if isinstance(layer.layout, TokenLayout) else 0)]
    if not alive:
        return None
    what = "tokens whose patches" if isinstance(alive[0].layout, TokenLayout) else "activation with spatial extent that"
    return Choice(alive[0], f"the last {what} the target depends on", tuple(alive[1 : RUNNERS_UP + 1]))


def _is_bypassed(layer: Layer, graph: ir.Graph, image: ir.Value, scores: ir.Value, rules: RuleSet) -> bool:
    """Whether *scores* depend on *image* without *layer*."""
    maker = layer.value.producer()
    return scores in dependents((node for node in graph if node is not maker), [image], rules)


def widest(layers: Sequence[Layer], shares: Sequence[float]) -> Choice:
    """Return the last layer whose gradient covers most of the target's own region, such as a detection's box.

    *shares* holds the covered share of that region for each of *layers*, last first. GradientError if all are zero.
    """
    enough = min(0.5, max(shares, default=0))
    wide = [layer for layer, share in zip(layers, shares, strict=True) if share >= enough]
    if not max(shares, default=0) > 0:
        raise GradientError(
            "the gradient of the target is zero at every layer; name another target, or use --method rise"
        )
    reason = "the last activation in which the target depends on most of its own place"
    return Choice(wide[0], reason, tuple(wide[1 : RUNNERS_UP + 1]))
