"""The nodes to keep in float, as other quantisers take them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxcam import __version__
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.pairing import Pairing
from onnxcam.diagnosis.repair_plan import node_key, surroundings
from onnxcam.errors import OutputError, nearest
from onnxcam.graph.fold import constant
from onnxcam.graph.io import ModelLike, all_tensors, load
from onnxcam.graph.subgraph import first_behind

__all__ = ["FORMATS", "KeepFloat", "formats"]

_FLOAT = {"bitwidth": 16, "dtype": "float"}
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose further inputs are weights."""


@dataclass(frozen=True)
class KeepFloat:
    """What to keep in float when the float model is quantised again.

    Attributes:
        nodes: Names of nodes of the float model; of the quantised one where there is no float model. A node without a
            name has that of its output.
        outputs: Names of the tensors that these nodes write.
        activations: Names of the activations.
        weights: Names of the weights and biases: those to keep, and those of the nodes.
        quantised: Names of the tensors that these nodes write in the quantised file.
        unnamed: Nodes without a name: the name that NNCF gives them, by the name in *nodes*.
    """

    nodes: Sequence[str]
    outputs: Sequence[str]
    activations: Sequence[str]
    weights: Sequence[str]
    quantised: Sequence[str] = ()
    unnamed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tensors: Sequence[str], source: ir.Model, mixture: Mixture, pairing: Pairing, real: ModelLike | None
    ) -> KeepFloat:
        """Return the list for the *tensors* of the quantised file *source*, by the names of the model *real*."""
        quantisers = {one.tensor: one for one in mixture.quantisers}
        own = {name: one.real if one.kind == "activation" else name for name, one in quantisers.items()}
        names = {name: own[name] if real is None else pairing.names.get(name, own[name]) for name in tensors}
        model = source if real is None else load(real)
        nodes = _nodes_around(tensors if real is None else names.values(), model)
        weights = [names[name] for name in tensors if quantisers[name].kind != "activation"]
        return cls(
            [node_key(node) for node in nodes],
            [y.name or "" for node in nodes for y in node.outputs],
            [names[name] for name in tensors if quantisers[name].kind == "activation"],
            list(dict.fromkeys([*weights, *_weights_of(nodes)])),
            _written(_nodes_around(tensors, source), quantisers),
            {node_key(node): f"{node.op_type}_nncf_{at}" for at, node in enumerate(model.graph) if _lacks(node, nodes)},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the list as JSON."""
        return {name: value if isinstance(value, Mapping) else list(value) for name, value in vars(self).items()}

    def written(self, format: str) -> tuple[str, str]:
        """Return the name of the file of a *format*, and its content."""
        name, write = FORMATS[format]
        return name, write(self)

    @property
    def warnings(self) -> list[str]:
        """Return what keeps a tool from finding the nodes."""
        if not self.unnamed:
            return []
        have = "1 node of the list has" if len(self.unnamed) == 1 else f"{len(self.unnamed)} nodes of the list have"
        return [
            f"{have} no name, so ONNX Runtime cannot exclude them; in the float model, name each node after its first "
            "output first: node.name = node.name or node.output[0]"
        ]


def _nodes_around(tensors: Iterable[str], model: ir.Model) -> list[ir.Node]:
    """Return the nodes of *model* that write or read the *tensors*, except those that round."""
    known = all_tensors(model.graph)
    around = [node for name in tensors if name in known for node in surroundings(known[name])]
    return [node for node in dict.fromkeys(around) if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]


def _weights_of(nodes: Iterable[ir.Node]) -> list[str]:
    """Return the weights and biases of the *nodes*, as constants of the model."""
    given = [x for node in nodes if node.op_type in _LAYERS for x in node.inputs[1:] if x is not None]
    return [x.name or "" for x in given if constant(x) is not None]


def _written(nodes: Iterable[ir.Node], quantisers: Container[str]) -> list[str]:
    """Return the first quantised tensor that each of the *nodes* of a quantised file leads to."""
    return list(dict.fromkeys(name for node in nodes if (name := first_behind(node, quantisers))))


def _lacks(node: ir.Node, nodes: Collection[ir.Node]) -> bool:
    """Return whether *node* is one of *nodes* and has no name."""
    return not node.name and node in nodes


def formats(words: str) -> list[str]:
    """Return the formats named in *words*, ``ort,nncf``; OutputError for others."""
    found = [word.strip() for word in words.split(",") if word.strip()]
    if not found:
        raise OutputError(f"--write is empty; it takes {', '.join(FORMATS)}")
    for word in found:
        if word not in FORMATS:
            raise OutputError(f"--write takes {', '.join(FORMATS)}, not {word!r}.{nearest(word, FORMATS)}")
    return found


def _ort(keep: KeepFloat) -> str:
    """Argument ``nodes_to_exclude`` of onnxruntime.quantization.quantize_static and of get_qnn_qdq_config."""
    return _json({"onnxcam": __version__, "nodes_to_exclude": list(keep.nodes)})


def _nncf(keep: KeepFloat) -> str:
    """Argument ``ignored_scope`` of nncf.quantize, https://openvinotoolkit.github.io/nncf (nncf.IgnoredScope)."""
    names = [keep.unnamed.get(name, name) for name in keep.nodes]
    return f"import nncf\n\nignored_scope = nncf.IgnoredScope(names={names!r})\n"


def _encodings(keep: KeepFloat) -> str:
    """AIMET's encodings 0.6.1, which ``--quantization_overrides`` of the QNN converters takes too.

    https://docs.qualcomm.com, Qualcomm AI Engine Direct, Quantization; floats have 16 bits there.
    """
    return _json(
        {
            "version": "0.6.1",
            "activation_encodings": {name: [_FLOAT] for name in dict.fromkeys((*keep.activations, *keep.outputs))},
            "param_encodings": {name: [_FLOAT] for name in keep.weights},
        }
    )


def _tensorrt(keep: KeepFloat) -> str:
    """Options of trtexec: ``--layerPrecisions=name:fp32,…`` and what makes them binding.

    Grammar: samples/common/sampleOptions.cpp in github.com/NVIDIA/TensorRT. The list is split at commas, a pair at its
    last colon, and single quotes are removed: names with a comma or a quote cannot be written, and are left out. Layers
    have the names of the ONNX nodes; the parser names those without one after their first output.
    """
    names = [f"node_of_{name}" if name in keep.unnamed else name for name in keep.nodes]
    layers = ",".join(f"{name}:fp32" for name in names if not set(name) & set(",'"))
    options = ["--int8", "--precisionConstraints=obey", f"--layerPrecisions={layers}", f"--layerOutputTypes={layers}"]
    return shlex.join(options) + "\n"


def _tflite(keep: KeepFloat) -> str:
    """Argument ``denylisted_nodes`` of tf.lite.experimental.QuantizationDebugOptions: names of the tensors written.

    TFLite ignores names that it does not know. It knows those of its own int8 file, which tf2onnx keeps.
    """
    return _json({"onnxcam": __version__, "denylisted_nodes": list(dict.fromkeys((*keep.quantised, *keep.outputs)))})


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


FORMATS: Mapping[str, tuple[str, Callable[[KeepFloat], str]]] = {
    "ort": ("nodes_to_exclude.json", _ort),
    "nncf": ("ignored_scope.py", _nncf),
    "qnn": ("quantization_overrides.json", _encodings),
    "aimet": ("aimet_encodings.json", _encodings),
    "tensorrt": ("trtexec.txt", _tensorrt),
    "tflite": ("denylisted_nodes.json", _tflite),
}
"""The formats: name of the file, and what writes it."""
