"""Find out why: questions that are asked of a model only when something looks wrong, or must be chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff import STANDARD
from onnxcam.autodiff.infer import gradient_dtype
from onnxcam.autodiff.jacobian import add_vjp
from onnxcam.engine import Session
from onnxcam.layer import Layer
from onnxcam.layout import Tokens
from onnxcam.passes import canonical
from onnxcam.target import Scores, find_scores

_OPEN = 224  # the height and width to try where the model leaves them open


def gradients(
    model: ir.Model,
    feeds: Mapping[str, np.ndarray],
    scores: Scores,
    hot: np.ndarray,
    wanted: Sequence[ir.Value],
) -> list[np.ndarray]:
    """Return the gradients of ``Σ hot · scores`` with respect to the tensors *wanted*, on the CPU."""
    twin, names = model.clone(), [value.name or "" for value in wanted]
    add_vjp(twin, [scores.value.name or ""], names, STANDARD)
    cotangent = f"{scores.value.name}.cotangent"
    run = Session(twin, "cpu", optimize=False).run({**feeds, cotangent: hot}, [f"{name}.gradient" for name in names])
    return list(run.values())


def cells_reached(model: ir.Model, image: ir.Value, scores: Scores, layers: Sequence[Layer]) -> list[bool]:
    """Tell for each layer of tokens whether the scores depend on most of its cells, on a random picture."""
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, _concrete(image)).astype(_dtype(image))
    if image.dtype is not None and image.dtype.is_integer():
        picture = np.round(64 + 63 * picture).astype(image.dtype.numpy())
    hot = rng.standard_normal(_concrete(scores.value)).astype(_dtype(scores.value))
    found = gradients(model, {image.name or "": picture}, scores, hot, [layer.value for layer in layers])
    return [_most_cells(g, layer.layout) for g, layer in zip(found, layers, strict=True)]


def gradient_flows(model: ir.Model, image: ir.Value, index: int, picture: np.ndarray, wanted: ir.Value) -> bool:
    """Tell whether the gradient of class *index* at tensor *wanted* is anywhere other than zero for *picture*."""
    raised = canonical(model, STANDARD)
    scores = find_scores(raised.graph)
    hot = np.zeros(_concrete(scores.value), _dtype(scores.value))
    hot.reshape(-1)[index] = 1
    (found,) = gradients(raised, {image.name or "": picture}, scores, hot, [wanted])
    return bool(np.abs(found).max(initial=0) > 0)


def why_not_finite(model: ir.Model, picture: np.ndarray) -> str:
    """Say why the scores are NaN or infinite."""
    for name, value in model.graph.initializers.items():
        weights = value.const_value.numpy() if value.const_value is not None else np.zeros(0)
        if np.issubdtype(weights.dtype, np.floating) and not np.isfinite(weights).all():
            return f"the model's weights hold NaN or infinity: initializer {name!r}; export the model again"
    if not np.isfinite(picture).all():
        return "the input tensor holds NaN or infinity; check the preprocessing"
    return "the class scores are NaN or infinite though weights and input are not: the network overflows on this input"


def _most_cells(gradient: np.ndarray, layout: object) -> bool:
    assert isinstance(layout, Tokens)
    cells = np.take(gradient, range(layout.offset, layout.offset + layout.cells), layout.token)
    alive = np.abs(cells).max(axis=layout.channel) > 0
    return bool(alive.mean() > 0.5)


def _concrete(value: ir.Value) -> list[int]:
    dims = list(value.shape) if value.shape is not None else []
    return [dim if isinstance(dim, int) else (1 if axis == 0 else _OPEN) for axis, dim in enumerate(dims)]


def _dtype(value: ir.Value) -> np.dtype:
    return np.dtype(gradient_dtype(value).numpy())
