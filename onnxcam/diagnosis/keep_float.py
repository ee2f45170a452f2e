"""The nodes to keep in float, as other quantisers take them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxcam import __version__
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.pairing import Pairing
from onnxcam.diagnosis.repair_plan import node_key, surroundings
from onnxcam.errors import OutputError, nearest
from onnxcam.graph.io import ModelLike, all_tensors, load

__all__ = ["FORMATS", "KeepFloat", "formats"]

_FLOAT = {"bitwidth": 16, "dtype": "float"}


@dataclass(frozen=True)
class KeepFloat:
    """What to keep in float when the float model is quantised again.

    Attributes:
        nodes: Names of nodes of the float model; of the quantised one where there is no float model.
        outputs: Names of the tensors that these nodes write.
        activations: Names of the activations.
        weights: Names of the weights.
    """

    nodes: Sequence[str]
    outputs: Sequence[str]
    activations: Sequence[str]
    weights: Sequence[str]

    @classmethod
    def of(
        cls, tensors: Sequence[str], source: ir.Model, mixture: Mixture, pairing: Pairing, real: ModelLike | None
    ) -> KeepFloat:
        """Return the list for the *tensors* of the quantised file *source*, by the names of the model *real*."""
        kinds = {one.tensor: one.kind for one in mixture.quantisers}
        names = {name: name if real is None else pairing.names.get(name, name) for name in tensors}
        known = all_tensors((source if real is None else load(real)).graph)
        around = [node for name in names.values() if name in known for node in surroundings(known[name])]
        nodes = [node for node in dict.fromkeys(around) if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
        return cls(
            [node_key(node) for node in nodes],
            [y.name or "" for node in nodes for y in node.outputs],
            [names[name] for name in tensors if kinds[name] == "activation"],
            [names[name] for name in tensors if kinds[name] != "activation"],
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the list as JSON."""
        return {name: list(value) for name, value in vars(self).items()}

    def written(self, format: str) -> tuple[str, str]:
        """Return the name of the file of a *format*, and its content."""
        name, write = FORMATS[format]
        return name, write(self)


def formats(words: str) -> list[str]:
    """Return the formats named in *words*, ``ort,nncf``; OutputError for others."""
    found = [word.strip() for word in words.split(",") if word.strip()]
    for word in found:
        if word not in FORMATS:
            raise OutputError(f"--write takes {', '.join(FORMATS)}, not {word!r}.{nearest(word, FORMATS)}")
    return found


def _ort(keep: KeepFloat) -> str:
    """Argument ``nodes_to_exclude`` of onnxruntime.quantization.quantize_static: names of nodes."""
    return _json({"onnxcam": __version__, "nodes_to_exclude": list(keep.nodes)})


def _nncf(keep: KeepFloat) -> str:
    """Argument ``ignored_scope`` of nncf.quantize, https://openvinotoolkit.github.io/nncf (nncf.IgnoredScope)."""
    return f"import nncf\n\nignored_scope = nncf.IgnoredScope(names={list(keep.nodes)!r}, validate=False)\n"


def _qnn(keep: KeepFloat) -> str:
    """Option ``--quantization_overrides`` of qnn-onnx-converter, which has the format of AIMET's encodings 0.6.1.

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

    https://docs.nvidia.com/deeplearning/tensorrt, trtexec. The layers have the names of the ONNX nodes.
    """
    layers = ",".join(f"{name}:fp32" for name in keep.nodes)
    outputs = ",".join(f"{name}:fp32" for name in keep.nodes)
    return f"--precisionConstraints=obey --layerPrecisions={layers} --layerOutputTypes={outputs}\n"


def _tflite(keep: KeepFloat) -> str:
    """Argument ``denylisted_nodes`` of tf.lite.experimental.QuantizationDebugOptions: names of the tensors written."""
    return _json({"onnxcam": __version__, "denylisted_nodes": list(keep.outputs)})


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


FORMATS: Mapping[str, tuple[str, Callable[[KeepFloat], str]]] = {
    "ort": ("nodes_to_exclude.json", _ort),
    "nncf": ("ignored_scope.py", _nncf),
    "qnn": ("quantization_overrides.json", _qnn),
    "aimet": ("aimet_encodings.json", _qnn),
    "tensorrt": ("trtexec.txt", _tensorrt),
    "tflite": ("denylisted_nodes.json", _tflite),
}
"""The formats: name of the file, and what writes it."""
