"""Which tensors of a float model and of its quantised form are the same: by name, by shape and by numbers.

The quantised model gives the structure. Its weights are paired with the float model's constants. The network with these
constants and without rounding must then compute what the float model computes: a run shows it. Activations are paired
by the numbers of this run, so that it does not matter who made the file, or how its tensors are called.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxcam.autodiff import STANDARD
from onnxcam.diagnosis.constants import float_constants
from onnxcam.diagnosis.float_run import CURE, FloatRun
from onnxcam.diagnosis.mixture import Mixture
from onnxcam.diagnosis.moved_biases import MovedBias, moved_biases
from onnxcam.diagnosis.weights import paired_weights
from onnxcam.errors import DiagnosisError
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.qdq import is_quantised
from onnxcam.metadata.reserved import load_bare
from onnxcam.passes import canonical

__all__ = ["Pairing", "pair"]

_Array = NDArray[Any]

_SAME = 0.01
"""Two networks compute the same if their outputs differ by less than this share of the largest value."""


@dataclass(frozen=True)
class Pairing:
    """The tensors of a float model that belong to the quantisers of its quantised form.

    Attributes:
        mixture: The mixture, with the float weights.
        names: Names of the float tensors, by that of the quantiser's tensor.
        unmatched: Tensors of quantisers without a float one.
        difference: Largest difference between the outputs of the float model and of the mixture's float network, as a
            share of the largest value.
        moved: Float constants of the quantised model, such as biases, that the quantiser changed.
    """

    mixture: Mixture
    names: Mapping[str, str]
    unmatched: Sequence[str]
    difference: float
    moved: Sequence[MovedBias] = ()


def pair(quantised: ModelLike, real: ModelLike | None = None, feeds: Mapping[str, _Array] | None = None) -> Pairing:
    """Pair the tensors of a *quantised* model with those of its float original.

    Args:
        quantised: The quantised model.
        real: The float model. None: the quantised model without rounding takes its place, and its weights are those of
            the quantised model.
        feeds: Inputs of the quantised model for one image, [1, …] each; required with *real*.

    Raises:
        DiagnosisError: the weights are those of another training, the two do not compute the same, or it is not the
            second model alone that is quantised.
        ModelError: one of the models cannot be read.
    """
    _check_order(quantised, real)
    mixture = Mixture.of(quantised)
    if real is None:
        if not mixture.quantisers:
            raise DiagnosisError("only weights are quantised, without their real values; give the float model")
        return Pairing(mixture, {}, [], 0.0)
    assert feeds is not None
    original = canonical(load_bare(real), STANDARD)
    fixed = [one for one in (*mixture.quantisers, *mixture.fixed) if one.kind != "activation"]
    weights = paired_weights([(one, mixture.weights[one.tensor]) for one in fixed], float_constants(original))
    arrays = {one.real: weights[one.tensor].array for one in fixed if one.tensor in weights}
    run = FloatRun(original, feeds)
    moved = moved_biases(Mixture.of(quantised, arrays), original, {one.name for one in weights.values()})
    mixture, tensors, difference = _paired(run, quantised, arrays, {one.name: one.array for one in moved})
    if moved and difference > _SAME:  # the names may be those of other constants
        mixture, tensors, difference = _paired(run, quantised, arrays, {})
    names = {**{name: one.name for name, one in weights.items()}, **tensors}
    if difference > _SAME:
        raise DiagnosisError(_unlike(difference, names, mixture))
    lost = [one.tensor for one in (*mixture.quantisers, *mixture.fixed) if one.tensor not in names]
    return Pairing(mixture, names, lost, difference, moved)


def _paired(
    run: FloatRun, quantised: ModelLike, arrays: Mapping[str, _Array], biases: Mapping[str, _Array]
) -> tuple[Mixture, dict[str, str], float]:
    """Return the mixture with the right activation functions, its float tensors, and the difference of the outputs."""
    uppers: dict[str, float] = {}
    tried: set[tuple[str, float]] = set()
    mixture = Mixture.of(quantised, arrays, biases=biases)
    tensors, wrong = run.paired(mixture, tried)
    while wrong:
        tried |= wrong.items()
        uppers |= wrong
        mixture = Mixture.of(quantised, arrays, uppers, biases)
        tensors, wrong = run.paired(mixture, tried)
    return mixture, tensors, run.difference(mixture)


def _check_order(quantised: ModelLike, real: ModelLike | None) -> None:
    """Raise DiagnosisError unless *quantised* is quantised and *real* is not."""
    candidate = is_quantised(load(quantised))
    reference = real is not None and is_quantised(load(real))
    if not candidate and reference:
        raise DiagnosisError("the two models are swapped: the second one is not quantised; give the float model first")
    if not candidate:
        raise DiagnosisError("no activation of the model is quantised, nor a weight; give the quantised model")
    if reference:
        raise DiagnosisError(f"the float model is itself quantised; {CURE}")


def _unlike(difference: float, names: Mapping[str, str], mixture: Mixture) -> str:
    """Return why a float model and a quantised one do not belong together."""
    every = [*mixture.quantisers, *mixture.fixed]
    lost = [one.tensor for one in every if one.tensor not in names]
    weights = [one.tensor for one in every if one.kind != "activation"]
    unlike = [name for name in weights if name not in names]
    if len(lost) == len(every):
        return f"the two models are not one network: no tensor of the float model is like a quantised one; {CURE}"
    if unlike:
        return (
            f"the two models are not one network: {len(unlike)} of {len(weights)} quantised weights, such as "
            f"{unlike[0]!r}, are like none of the float model (another training or graph); {CURE}"
        )
    where = f"; {lost[0]!r} is the first tensor that differs" if lost else ""
    return (
        f"without rounding the quantised model computes {difference:.2g} of the largest value more or less than the "
        f"float model{where}; {CURE}"
    )
