"""Blocks: the activations that ``all-blocks`` selects, found from the graph alone.

A *cut* is a tensor through which every path from the inputs to the target passes: the output of a residual block, of a
transformer's residual sum, or of a layer in a plain chain. In each unbranched run of cuts of one resolution, the last
activation ends a block. If a skip connection spans resolutions other than those at its ends, as in a U-Net, the last
activation of each of these resolutions ends a block too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

import onnx_ir as ir

from onnxcam.autodiff.core import dependents
from onnxcam.autodiff.table import RuleSet
from onnxcam.structure.layer import Layer, ancestors, candidates

__all__ = ["blocks", "cuts"]


def blocks(graph: ir.Graph, image: ir.Value, target: ir.Value, rules: RuleSet) -> list[Layer]:
    """Return the activations that end a block between *image* and *target*, in graph order."""
    layers = candidates(graph, image, target, rules)[::-1]
    passed = cuts(graph, list(graph.inputs), target, rules)
    ends: list[Layer] = []
    start = 0
    for position, layer in enumerate(layers):
        if _source(layer) not in passed:
            continue
        ends += _across(ends[-1:], layers[start:position], layer)
        if ends and _continues(ends[-1], layer):
            ends.pop()
        ends.append(layer)
        start = position + 1
    return ends


def cuts(graph: ir.Graph, sources: Sequence[ir.Value], target: ir.Value, rules: RuleSet) -> set[ir.Value]:
    """Return the tensors through which every path from *sources* to *target* passes."""
    between = dependents(graph, sources, rules) & ancestors(target)
    nodes = [node for node in graph if not between.isdisjoint(node.outputs)]
    readers = Counter(x for node in nodes for x in set(node.inputs) if x in between)
    alive, found = {value for value in sources if value in between}, set[ir.Value]()
    for node in nodes:
        for x in dict.fromkeys(x for x in node.inputs if x in between):
            readers[x] -= 1
            if not readers[x]:
                alive.discard(x)
        alive.update(y for y in node.outputs if y in between)
        if len(alive) == 1:
            found |= alive
    return found


def _source(layer: Layer) -> ir.Value:
    return layer.origin or layer.value


def _size(layer: Layer) -> tuple[str, ...]:
    """Return the resolution; a symbolic length gives its name, such as ``height//2``."""
    return tuple(map(str, layer.layout.size(layer.value)))


def _continues(before: Layer, after: Layer) -> bool:
    """Whether *after* follows *before* without a branch and at the same resolution."""
    value = before.value
    while value is not _source(after):
        users = list(dict.fromkeys(value.consumers()))
        if len(users) != 1:
            return False
        value = users[0].outputs[0]
    return _size(before) == _size(after)


def _across(before: Sequence[Layer], inside: Sequence[Layer], after: Layer) -> Iterator[Layer]:
    """Yield the last activation of each run whose resolution differs from both ends of the skip connection."""
    known = {_size(after), *map(_size, before)}
    for size, run in groupby(inside, key=_size):
        if before and size not in known:
            yield list(run)[-1]
