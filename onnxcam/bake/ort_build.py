"""Write the operator list that a custom build of ONNX Runtime needs for one model.

The file is the argument of ``build.sh --include_ops_by_config FILE`` of ONNX Runtime: a line ``domain;opset;Op,Op,…``
per domain, and the types of all tensors, which apply with ``--enable_reduced_operator_type_support``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import onnx_ir as ir

from onnxcam import files
from onnxcam.autodiff.rules import STANDARD
from onnxcam.engine import optimised
from onnxcam.graph.io import ModelLike, files_of, load
from onnxcam.graph.subgraph import graphs, values
from onnxcam.passes.inline import inline_functions
from onnxcam.passes.shapes import infer_shapes
from onnxcam.paths import PathLike

__all__ = ["TYPES", "require_operators", "write_operators"]

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
"""Names of optional tensor types in ONNX Runtime's build."""


def write_operators(source: ModelLike, path: PathLike, *, overwrite: bool = False) -> dict[tuple[str, int], list[str]]:
    """Write the operators of a model to *path*; return them by domain and opset.

    They include the operators of the file itself and of the graph optimised by ONNX Runtime, so that the build runs the
    model with and without optimisation, and after conversion to ORT format.

    Raises:
        ModelError: the model is invalid.
        EngineError: ONNX Runtime cannot load it.
        OutputError: the file cannot be written.

    Example:
        >>> write_operators("explained.onnx", "explained.config")
    """
    model = load(source)
    inline_functions(model, ())
    infer_shapes(model, STANDARD.compositions)
    found, types = defaultdict[tuple[str, int], set[str]](set), set[str]()
    for each in (model, optimised(model)):
        for node in each.graph.all_nodes():
            version = each.opset_imports.get(node.domain, 1)
            found[node.domain or "ai.onnx", version].add(node.op_type)
        types |= _types(each)
    operators = {key: sorted(names) for key, names in sorted(found.items())}
    lines = [f"{domain};{version};{','.join(names)}" for (domain, version), names in operators.items()]
    text = "\n".join([files.OPERATORS, f"!globally_allowed_types;{','.join(sorted(types))}", *lines, ""])
    files.write(path, text, files_of(source), overwrite=overwrite)
    return operators


def require_operators(path: PathLike, model: ModelLike, others: Iterable[PathLike], *, overwrite: bool) -> None:
    """Raise OutputError if *path* is the model, its weights, one of *others*, or a file of other origin."""
    files.require_writable(Path(path), [*files_of(model), *others], overwrite=overwrite, option="--operators")


def _types(model: ir.Model) -> set[str]:
    tensors = [value for graph in graphs(model.graph) for value in values(graph)]
    return {TYPES[value.dtype.name] for value in tensors if value.dtype is not None and value.dtype.name in TYPES}
