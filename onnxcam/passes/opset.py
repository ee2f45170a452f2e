"""Raise the default domain to the oldest opset that the rules support."""

from __future__ import annotations

import onnx_ir as ir
from onnx import version_converter

from onnxcam.errors import ModelError
from onnxcam.graph.fold import constant
from onnxcam.graph.io import call_onnx, give_back_domain
from onnxcam.text import first_line

__all__ = ["HALF_PIXEL", "OPSET", "converted", "raise_opset"]

OPSET = 18
HALF_PIXEL = 11  # the first opset whose Resize uses half-pixel coordinates by default


def raise_opset(model: ir.Model) -> ir.Model:
    """Return *model* at opset 18 or newer; names, weights and metadata are kept.

    onnx's converter works on a copy without the weights and drops the metadata; both are restored. ModelError if it
    fails.
    """
    version = model.opset_imports.get("")
    if version is None or version >= OPSET:
        return model
    try:
        raised = converted(model, OPSET)
    except Exception as error:
        raise ModelError(
            f"the model cannot be raised from opset {version} to {OPSET}: {first_line(error)}; "
            "export it again at opset 13 or newer"
        ) from None
    if version < HALF_PIXEL:
        _restore_sampling(raised, model)
    return raised


def converted(model: ir.Model, version: int) -> ir.Model:
    """Return *model* at opset *version*, as onnx's converter writes it; names, weights and metadata are kept.

    It raises the errors of that converter.
    """
    proto = call_onnx(lambda light: version_converter.convert_version(light, version), model)
    changed = ir.serde.deserialize_model(proto)
    give_back_domain(changed, changed.graph.all_nodes())
    _restore_weights(changed, model)
    _restore_metadata(changed, model)
    return changed


def _restore_weights(raised: ir.Model, model: ir.Model) -> None:
    kept = {value.name for value in model.graph.inputs}
    graph = raised.graph
    for value in [value for value in graph.inputs if value.name not in kept]:
        graph.inputs.remove(value)
        value.const_value = model.graph.initializers[value.name or ""].const_value
        graph.register_initializer(value)


def _restore_metadata(raised: ir.Model, model: ir.Model) -> None:
    raised.metadata_props.update(model.metadata_props)
    raised.graph.metadata_props.update(model.graph.metadata_props)
    makers = {value.name: node for node in model.graph.all_nodes() for value in node.outputs}
    for node in raised.graph.all_nodes():
        maker = next((makers[y.name] for y in node.outputs if y.name in makers), None)
        if maker is not None:
            node.metadata_props.update(maker.metadata_props)


def _restore_sampling(raised: ir.Model, model: ir.Model) -> None:
    """Set the coordinates of Resize to asymmetric, their meaning before opset 11; onnx's converter omits this.

    For such opsets ONNX Runtime's nearest pixel is the previous one when enlarging and the next one when shrinking.
    """
    old = {y.name for node in model.graph.all_nodes() if node.op_type in {"Resize", "Upsample"} for y in node.outputs}
    for node in raised.graph.all_nodes():
        if node.op_type != "Resize" or node.outputs[0].name not in old:
            continue
        scales = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        shrinks = scales is not None and bool((scales < 1).any())
        node.attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", "asymmetric"
        )
        node.attributes["nearest_mode"] = ir.AttrString("nearest_mode", "ceil" if shrinks else "floor")
