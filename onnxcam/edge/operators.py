"""The operators that a custom build of ONNX Runtime needs for one model, as its build reads them.

The file is what ``build.sh --include_ops_by_config FILE`` of ONNX Runtime takes: a line ``domain;opset;Op,Op,…`` for
each domain, and with the types of all tensors, which count with ``--enable_reduced_operator_type_support``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import onnx_ir as ir

from onnxcam.autodiff.subgraph import graphs, values
from onnxcam.engine import optimised
from onnxcam.errors import OutputError
from onnxcam.graph import ModelLike, load
from onnxcam.passes.inline import inline_functions
from onnxcam.passes.shapes import infer_shapes

TYPES = {
    "FLOAT": "float",
    "DOUBLE": "double",
    "FLOAT16": "MLFloat16",
    "BFLOAT16": "BFloat16",
    "BOOL": "bool",
    "STRING": "std::string",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}_t" for sign in ("", "U") for bits in (8, 16, 32, 64)},
    "FLOAT8E4M3FN": "Float8E4M3FN",
    "FLOAT8E4M3FNUZ": "Float8E4M3FNUZ",
    "FLOAT8E5M2": "Float8E5M2",
    "FLOAT8E5M2FNUZ": "Float8E5M2FNUZ",
}
"""What ONNX Runtime's build calls the types that it can leave out."""


def write_operators(source: ModelLike, path: str | os.PathLike[str]) -> dict[tuple[str, int], list[str]]:
    """Write the operators that a model needs to *path*; return them by domain and opset.

    They are those of the file as it is, and those of the graph that ONNX Runtime's optimisers make of it, so that the
    build runs it with and without them, and after conversion to ORT format.

    Raises:
        ModelError: it is no valid model.
        EngineError: ONNX Runtime refuses it.
        OutputError: the file cannot be written.

    Example:
        >>> write_operators("explained.onnx", "explained.config")
    """
    model = load(source)
    inline_functions(model, ())
    infer_shapes(model)
    found, types = defaultdict[tuple[str, int], set[str]](set), set[str]()
    for each in (model, optimised(model)):
        for node in each.graph.all_nodes():
            version = each.opset_imports.get(node.domain, 1)
            found[node.domain or "ai.onnx", version].add(node.op_type)
        types |= _types(each)
    operators = {key: sorted(names) for key, names in sorted(found.items())}
    lines = [f"{domain};{version};{','.join(names)}" for (domain, version), names in operators.items()]
    try:
        Path(path).write_text("\n".join([f"!globally_allowed_types;{','.join(sorted(types))}", *lines, ""]))
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror}; choose another file") from None
    return operators


def _types(model: ir.Model) -> set[str]:
    tensors = [value for graph in graphs(model.graph) for value in values(graph)]
    return {TYPES[value.dtype.name] for value in tensors if value.dtype is not None and value.dtype.name in TYPES}
