"""Add the vector-Jacobian product, or other outputs, to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from onnxcam.autodiff.core import backward, connected
from onnxcam.autodiff.cotangents import gradient_type
from onnxcam.autodiff.rulesets import ruleset
from onnxcam.autodiff.table import RuleSet
from onnxcam.errors import GradientError, ModelError, nearest
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.infer import no_numbers
from onnxcam.graph.io import ModelLike, all_tensors, building, load, to_proto
from onnxcam.graph.subgraph import prune
from onnxcam.graph.taps import read_quantised
from onnxcam.passes import canonical

__all__ = ["add_output", "add_vjp", "cotangent_input", "set_outputs", "vjp"]


def vjp(
    model: ModelLike,
    outputs: Sequence[str] | None = None,
    inputs: Sequence[str] | None = None,
    *,
    rules: str | RuleSet = "standard",
) -> onnx.ModelProto:
    """Return *model* with its vector-Jacobian product beside it, in operators of the default domain.

    Args:
        model: A path, the file's bytes, an `onnx.ModelProto` or an `onnx_ir.Model`; it is not changed.
        outputs: Names of the tensors to differentiate, anywhere in the graph; default: all floating outputs.
        inputs: Names of the tensors to differentiate with respect to, anywhere in the graph, weights included;
            default: the floating inputs on which the outputs depend.
        rules: ``"standard"``, ``"guided"``, ``"deconvnet"`` or a `RuleSet`.

    Returns:
        A model with the inputs of *model*, plus ``<output>.cotangent``, of the output's shape and dtype, for each
        output; and the outputs of *model*, plus ``<input>.gradient``, of the input's shape and dtype, for each input.
        It holds its weights. If they exceed 2 GB, it refers to the weight files of *model*: save it into their folder.

    Raises:
        ModelError: the model is invalid, or has no tensor of that name.
        MissingRuleError: an operator between inputs and outputs has no rule.
        GradientError: a requested input is not connected with any output.

    Example:
        >>> gradient = vjp("model.onnx", ["logits"], ["image"])
    """
    table = ruleset(rules)
    with building():
        raised = canonical(load(model), table)
        add_vjp(raised, outputs, inputs, table)
        return to_proto(raised)


def add_vjp(model: ir.Model, outputs: Sequence[str] | None, inputs: Sequence[str] | None, rules: RuleSet) -> None:
    """Add cotangent inputs and gradient outputs to *model*, which is canonical, in place."""
    graph = model.graph
    sources = _tensors(graph, outputs, graph.outputs, "output")
    wanted = _tensors(graph, inputs, graph.inputs, "input")
    op, own = Emitter(graph), list(graph)
    seeds = {y: cotangent_input(op, y) for y in sources}
    gradients = backward(op, seeds, wanted, rules)
    some = inputs is None and any(gradients)
    for x, gradient in zip(wanted, gradients, strict=True):
        if gradient is None and some:
            continue
        add_output(op, connected(x, gradient, sources, rules), f"{x.name}.gradient", like=x)
    op.place(graph.outputs)
    read_quantised(graph, own)


def cotangent_input(op: Emitter, y: ir.Value) -> ir.Value:
    """Return a new graph input for the cotangent of *y*."""
    kind = y.type if y.dtype is None else gradient_type(y)
    seed = ir.Value(name=op.name(f"{y.name}.cotangent"), shape=y.shape, type=kind)
    op.graph.inputs.append(seed)
    return seed


def add_output(
    op: Emitter, value: ir.Value, name: str, like: ir.Value | None = None, shape: Sequence[Any] | None = None
) -> ir.Value:
    """Add *value* to the graph's outputs under *name*, numbered if it is taken; return that output.

    Declare the type of the cotangent of *like*, if given, else *shape*.
    """
    output = op.call(value, name)
    if like is not None:
        output.shape, output.type = like.shape, gradient_type(like)
    elif shape is not None:
        output.shape = ir.Shape(shape)
    op.graph.outputs.append(output)
    return output


def set_outputs(
    op: Emitter, outputs: Mapping[str, ir.Value], *, shape: Sequence[Any] | None = None, replace: bool = False
) -> list[str]:
    """Add *outputs* to the graph by name, place their nodes, and remove nodes and weights that no output needs.

    Declare *shape* for all of them, if given. *replace*: remove the other outputs. Return the names in the graph: a
    name that is taken gets a number.
    """
    if replace:
        op.graph.outputs.clear()
    added = [add_output(op, value, name, shape=shape) for name, value in outputs.items()]
    op.place(op.graph.outputs)
    prune(op.graph)
    return [value.name or "" for value in added]


def _tensors(graph: ir.Graph, names: Sequence[str] | None, default: Sequence[ir.Value], kind: str) -> list[ir.Value]:
    if names is None:
        floating = [value for value in default if value.dtype is not None and value.dtype.is_floating_point()]
        if not floating:
            raise GradientError(f"the model has no floating {kind} to differentiate; name a tensor inside")
        return floating
    if isinstance(names, str):
        raise ModelError(f"the {kind}s to differentiate are a list of names: give [{names!r}] in place of {names!r}")
    tensors = all_tensors(graph)
    for name in names:
        if name not in tensors:
            raise ModelError(f"the model has no tensor called {name!r}.{nearest(name, tensors)}")
        if tensors[name].dtype == ir.DataType.STRING:
            raise ModelError(f"{name!r} is {no_numbers(tensors[name])} and has no gradient; name a tensor of numbers")
    return [tensors[name] for name in names]
