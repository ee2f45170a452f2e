"""The trunk of the zoo's vectors: a network that sees bright and dark places, and the tails of its producers."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

__all__ = ["BRIGHT", "CLASSES", "INPUT", "vector"]

CLASSES = 6
BRIGHT = 4
"""The class of pictures that are bright somewhere."""
INPUT = "float[N, 3, 64, 64] input"
_WEIGHTS = ", ".join("15, 0" if number == BRIGHT else f"0.{number}, 0.1" for number in range(CLASSES))


def vector(
    tail: str,
    outputs: str,
    *,
    image: str = INPUT,
    metadata: Mapping[str, str] | None = None,
    producer: str = "pytorch",
    imports: str = '"": 18',
    extra: str = "int64[1] unused = {0}",
) -> onnx.ModelProto:
    """Return a network with `CLASSES` scores ``z`` [N, 6], and the nodes of *tail* from ``z`` or ``v`` to *outputs*.

    ``v`` [N, 2] is how bright and how dark the brightest and darkest places are. Besides *extra*, the constants are
    ``axis``, ``twice``, ``five``, ``whole``, ``one``, ``half`` and the weights ``f``, ``b``, ``g``.
    """
    name = image.split()[-1]
    enter = f"t = Transpose<perm = [0, 3, 1, 2]>({name})" if ", 3]" in image else f"t = Identity({name})"
    model = onnx.parser.parse_model(
        f"""
        <ir_version: 8, opset_import: [{imports}], producer_name: "{producer}">
        main_graph ({image}) => ({outputs})
        <float[{CLASSES}, 2] f = {{{_WEIGHTS}}}, float[{CLASSES}] b = {{0, 0.1, 0, 0.1, 0, 0.1}},
         float[1, 2] g = {{20, -1}}, int64[2] twice = {{0, 4}}, int64[1] axis = {{1}}, int64[1] five = {{5}},
         int64[4] whole = {{-1, {CLASSES}, 1, 1}}, float one = {{1}}, float half = {{0.5}}, {extra}>
        {{
            {enter}
            mean = ReduceMean<keepdims = 1>(t)
            r = Sub(t, mean)
            k = Constant<value = float[2, 3, 1, 1] {{0.3, 0.3, 0.3, -0.3, -0.3, -0.3}}> ()
            c = Conv<strides = [1, 1]>(r, k)
            a = Relu(c)
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
            v4 = GlobalAveragePool(p)
            v = Flatten(v4)
            z = Gemm<transB = 1>(v, f, b)
            {tail}
        }}
        """
    )
    used = {name for node in model.graph.node for name in node.input}
    for made in [one for one in model.graph.initializer if one.name not in used]:
        model.graph.initializer.remove(made)
    kept = {name for node in model.graph.node for name in node.input} | {y.name for y in model.graph.output}
    for node in [node for node in model.graph.node if kept.isdisjoint(node.output)]:
        model.graph.node.remove(node)
    helper.set_model_props(model, dict(metadata or {}))
    return model
