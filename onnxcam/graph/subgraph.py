"""Subgraphs: the values that they capture, copies of them, and the nodes that a set of outputs needs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence

import onnx_ir as ir

__all__ = [
    "all_nodes",
    "attributes",
    "between",
    "bodies",
    "captured",
    "copy_graph",
    "counted",
    "detach",
    "first_behind",
    "graphs",
    "prune",
    "used_values",
    "values",
]

_FARTHEST = 8  # operators between a node and what is looked for behind it


def graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """Yield *graph* and its subgraphs at any depth."""
    yield graph
    for node in graph:
        for inner in bodies(node):
            yield from graphs(inner)


def all_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the nodes of *graph* and, after each, those of its subgraphs."""
    for node in graph:
        yield node
        for inner in bodies(node):
            yield from all_nodes(inner)


def attributes(node: ir.Node) -> list[ir.Attr]:
    """Return the attributes of *node*, by the dict itself: the views of onnx_ir's mapping are slow."""
    return list(node.attributes.data.values())


def bodies(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs among the attributes of *node*."""
    return [one.as_graph() for one in node.attributes.data.values() if one.type is ir.AttributeType.GRAPH]


def values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Yield the values that *graph* and its subgraphs define."""
    for inner in graphs(graph):
        yield from inner.inputs
        yield from inner.initializers.values()
        for node in inner:
            yield from node.outputs


def used_values(node: ir.Node) -> Iterable[ir.Value | None]:
    """Yield the inputs of *node* and the values that its subgraphs use."""
    yield from node.inputs
    for body in bodies(node):
        for graph in graphs(body):
            for inner in graph:
                yield from inner.inputs
            yield from graph.outputs


def captured(*subgraphs: ir.Graph) -> list[ir.Value]:
    """Return the values that *subgraphs* capture from outside, each once."""
    found: dict[ir.Value, None] = {}
    for subgraph in subgraphs:
        own = set(values(subgraph))
        for graph in graphs(subgraph):
            used = [*(x for node in graph for x in node.inputs), *graph.outputs]
            found.update((x, None) for x in used if x is not None and x not in own)
    return list(found)


_COUNTED = frozenset("NonZero NonMaxSuppression Unique Compress Loop".split())


def counted(graph: ir.Graph) -> set[ir.Value]:
    """Return the tensors of *graph* that depend on an operator whose number of rows depends on values."""
    found: set[ir.Value | None] = set()
    for node in graph:
        used = {x for x in used_values(node) if x is not None}
        if node.op_type in _COUNTED or not found.isdisjoint(used):
            found.update(node.outputs)
    return {value for value in found if value is not None}


def copy_graph(graph: ir.Graph, prefix: str) -> ir.Graph:
    """Return a copy of *graph* that captures the same values; its own names begin with *prefix*."""
    copy = graph.clone(allow_outer_scope_values=True)
    copy.name = prefix
    for value in list(values(copy)):
        if not value.name:  # an omitted optional output
            continue
        name, tensor = f"{prefix}.{value.name}", value.const_value
        value.const_value = None  # shared with the other graph, it would be renamed too
        value.name = name
        if tensor is not None:
            value.const_value = ir.Tensor(tensor.numpy(), tensor.dtype, name=name)
    for node in all_nodes(copy):
        node.name = f"{prefix}.{node.name}" if node.name else None
    return copy


def between(nodes: Sequence[ir.Node], sources: Iterable[ir.Value], targets: Iterable[ir.Value]) -> list[ir.Node]:
    """Return the *nodes*, in order, on which *targets* depend, without those before *sources*."""
    stop, needed, kept = set(sources), set(targets), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(x for x in used_values(node) if x is not None and x not in stop)
    return kept[::-1]


def first_behind(node: ir.Node, names: Container[str]) -> str:
    """Return the nearest tensor behind *node* that is one of *names*; "" if there is none."""
    level = [node]
    for _ in range(_FARTHEST):
        made = [y for each in level for y in each.outputs]
        found = next((y.name for y in made if y.name and y.name in names), None)
        if found is not None:
            return found
        level = [user for y in made for user in y.consumers()]
    return ""


def prune(graph: ir.Graph) -> None:
    """Remove the nodes and constants of *graph* on which no output depends."""
    kept = set(between(list(graph), (), graph.outputs))
    for node in [node for node in graph if node not in kept]:
        detach(node)
        graph.remove(node)
    used = {x for node in kept for x in used_values(node)} | set(graph.outputs)
    for name, value in list(graph.initializers.items()):
        if value not in used:
            del graph.initializers[name]


def detach(node: ir.Node) -> None:
    """Remove *node*, which is not in a graph, and the nodes of its bodies from the uses of their inputs."""
    for i in range(len(node.inputs)):
        node.replace_input_with(i, None)
    for body in bodies(node):
        for inner in body:
            detach(inner)
