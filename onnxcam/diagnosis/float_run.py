"""One run of a float model: the tensors that the quantised model computes too, and how far their outputs differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.diagnosis.fingerprints import Fingerprint
from onnxcam.diagnosis.mixture import NO_FUNCTION, Mixture, Site
from onnxcam.engine import Session
from onnxcam.errors import DiagnosisError, EngineError
from onnxcam.graph.fold import constant
from onnxcam.graph.io import all_tensors
from onnxcam.graph.quantisation import units
from onnxcam.graph.quantisers import Quantiser

__all__ = ["CURE", "FloatRun"]

_Array = NDArray[Any]

CURE = (
    "give the float model that was quantised, or - (in Python None): the quantised model without rounding takes its "
    "place"
)


class FloatRun:
    """One run of the float model: its outputs and the fingerprints of its tensors."""

    def __init__(self, model: ir.Model, feeds: Mapping[str, _Array]) -> None:
        self._model, self._feeds = model, feeds
        self._tensors = all_tensors(model.graph)
        self._known: tuple[list[str], list[Fingerprint]] | None = None

    def paired(self, mixture: Mixture, tried: Collection[tuple[str, float]]) -> tuple[dict[str, str], dict[str, float]]:
        """Return the float model's tensors by the quantisers' ones, and the activation functions that are wrong.

        These are tensors of quantisers with the upper end of the right function, as `Mixture.of` takes it. Pairs that
        were *tried* are left out.
        """
        sites = mixture.sites.values()
        arrays = _values(mixture.real, [*(site.raw for site in sites), *(site.real for site in sites)], self._feeds)
        found: dict[str, str] = {}
        wrong: dict[str, float] = {}
        for quantiser in mixture.quantisers:
            site = mixture.sites.get(quantiser.tensor)
            if site is None:
                continue
            names = self._like(arrays[site.real], mixture)
            before = arrays[site.raw]
            ends = self._ends(quantiser, site, names, before, mixture)
            end = next((end for end in ends if (quantiser.tensor, end) not in tried), None)
            if end is not None:
                wrong[quantiser.tensor] = end
                right = before if end == NO_FUNCTION else np.clip(before, 0, end)
                if not np.array_equal(right, arrays[site.real]):
                    break  # what follows is computed of wrong numbers
            elif names:
                found[quantiser.tensor] = quantiser.real if quantiser.real in names else names[0]
        return found, wrong

    def _ends(
        self, quantiser: Quantiser, site: Site, names: Sequence[str], before: _Array, mixture: Mixture
    ) -> list[float]:
        """Return where the activation function in front of *quantiser* may end, where *mixture* is wrong about it.

        *names* are the float tensors like what it quantises, *before* is what is in front of the function.
        """
        inner = all_tensors(mixture.real.graph)
        replaces = site.real != site.raw
        if names and not (replaces or _is_cut(quantiser, inner[site.raw], before)):
            return self._dropped(names, inner[site.raw])
        known = [end for end in (_upper(self._tensors[name]) for name in names) if end is not None]
        if replaces and known:
            return [] if _upper(inner[site.real]) in known else known[:1]
        real = self._like(before, mixture)
        if replaces and names:
            return [NO_FUNCTION] if real else []
        behind = [y for name in real for node in self._tensors[name].consumers() for y in node.outputs]
        ends = [*(end for end in map(_upper, behind) if end is not None), np.inf, 6.0]
        likely = [end for end in ends if self._like(np.clip(before, 0, end), mixture)]
        return [*likely, NO_FUNCTION] if replaces and real else likely

    def _dropped(self, names: Sequence[str], own: ir.Value) -> list[float]:
        """Return where the function ends that alone reads the tensors *names*, and that nothing replaces behind *own*.

        A quantiser drops a ReLU where the range replaces it; a wrong zero point moves the range, and nothing does.
        """
        ends = [_upper(y) for name in names for node in self._tensors[name].consumers() for y in node.outputs]
        has_function = any(_upper(y) is not None for node in own.consumers() for y in node.outputs)
        return [] if has_function or None in ends else [end for end in dict.fromkeys(ends) if end is not None]

    def _like(self, x: _Array, mixture: Mixture) -> list[str]:
        """Return the names of the float tensors with the numbers *x*."""
        names, prints = self._fingerprints(mixture)
        return [names[place] for place in Fingerprint.of(x).nearest(prints)]

    def difference(self, mixture: Mixture) -> float:
        """Return the largest difference of the outputs as a share of the largest value.

        Raises:
            DiagnosisError: the outputs differ in number or size, or those of the float model are not finite.
        """
        ours = [value.name or "" for value in mixture.real.graph.outputs]
        theirs = [value.name or "" for value in self._model.graph.outputs]
        first, second = _values(mixture.real, ours, self._feeds), _values(self._model, theirs, self._own_feeds(mixture))
        if [first[name].size for name in ours] != [second[name].size for name in theirs]:
            raise DiagnosisError(
                f"the two models are not one network: the float model computes {_listed(second)}, the quantised one "
                f"{_listed(first)}; {CURE}"
            )
        wrong = next((name for name, array in second.items() if not np.isfinite(array).all()), None)
        if wrong is not None:
            raise DiagnosisError(
                f"the float model gives NaN or infinity in {wrong!r}; correct it, or give another image"
            )
        return max(_difference(first[a], second[b]) for a, b in zip(ours, theirs, strict=True))

    def _fingerprints(self, mixture: Mixture) -> tuple[list[str], list[Fingerprint]]:
        """Return the names and the fingerprints of the floating tensors of the float model, in order."""
        if self._known is None:
            names = [
                value.name or ""
                for value in (*self._model.graph.inputs, *(y for node in self._model.graph for y in node.outputs))
                if value.name
                and value.dtype is not None
                and value.dtype.is_floating_point()
                and not value.is_initializer()
            ]
            arrays = _values(self._model, names, self._own_feeds(mixture))
            self._known = names, [Fingerprint.of(arrays[name]) for name in names]
        return self._known

    def _own_feeds(self, mixture: Mixture) -> dict[str, _Array]:
        """Return the inputs of the float model: the same real numbers, where the quantised model takes integers."""
        given: dict[str, _Array] = {}
        own = mixture.real.graph.inputs
        for place, value in enumerate(self._model.graph.inputs):
            other = next((x for x in own if x.name == value.name), own[place] if place < len(own) else None)
            if other is None or other.name not in self._feeds:
                raise DiagnosisError(
                    f"the float model has an input {value.name!r} that the quantised one lacks; {CURE}"
                )
            array = self._feeds[other.name or ""]
            dtype = np.dtype(np.float32) if value.dtype is None else value.dtype.numpy()
            known = units(other) if dtype.kind == "f" and array.dtype.kind != "f" else None
            if known is not None and known.known is not None:
                scale, zero = known.known
                array = (array.astype(np.float64) - zero) * scale
            given[value.name or ""] = _in_shape(array, value).astype(dtype)
        return given


def _is_cut(quantiser: Quantiser, x: ir.Value, array: _Array) -> bool:
    """Return whether the range of *quantiser* cuts the negative numbers off an input *x* of the model."""
    return x.is_graph_input() and float(quantiser.range[0].min()) == 0 and float(array.min(initial=0)) < 0


def _upper(x: ir.Value | None) -> float | None:
    """Return where the activation function that writes *x* ends, infinite for a ReLU; None for another operator."""
    node = None if x is None else x.producer()
    if node is None or node.op_type not in ("Relu", "Clip"):
        return None
    end = constant((*node.inputs, None, None)[2]) if node.op_type == "Clip" else None
    return float("inf") if end is None else float(end.item())


def _values(model: ir.Model, names: Sequence[str], feeds: Mapping[str, _Array]) -> dict[str, _Array]:
    """Return the tensors *names* of a run."""
    copy = model.clone()
    tensors, inputs = all_tensors(copy.graph), {value.name for value in copy.graph.inputs}
    wanted = dict.fromkeys(name for name in names if name not in inputs)
    copy.graph.outputs[:] = [tensors[name] for name in wanted]
    found = {name: feeds[name] for name in names if name in inputs}
    if wanted:
        session = Session(copy, "cpu", optimize=False)
        try:
            found |= _first_rows(session.run(given := session.filled(feeds), list(wanted)), given, feeds)
        except EngineError as error:
            raise DiagnosisError(f"the two models do not take the same inputs: {error}") from error
    return found


def _first_rows(
    arrays: Mapping[str, _Array], given: Mapping[str, _Array], feeds: Mapping[str, _Array]
) -> dict[str, _Array]:
    """Return the first row of *arrays* where the one row of *feeds* was repeated as *given*, in a fixed batch."""
    rows = next((len(x) for name, x in given.items() if x.shape != feeds[name].shape), None)
    return {name: x[:1] if rows and x.shape[:1] == (rows,) else x for name, x in arrays.items()}


def _in_shape(array: _Array, value: ir.Value) -> _Array:
    """Return *array* as the input *value* takes it, with channels first or last.

    Raises:
        DiagnosisError: it takes another size.
    """
    wanted = list(array.shape if value.shape is None else value.shape)
    for order in (tuple(range(array.ndim)), *(order for order in _LAYOUTS if len(order) == array.ndim)):
        moved = array.transpose(order)
        if len(wanted) == moved.ndim and all(
            not isinstance(n, int) or n == m for n, m in zip(wanted[1:], moved.shape[1:], strict=True)
        ):
            return moved
    raise DiagnosisError(
        f"the float model takes {value.name!r} {[n if isinstance(n, int) else str(n) for n in wanted]}, the quantised "
        f"one {list(array.shape)}; {CURE}"
    )


_LAYOUTS = ((0, 2, 3, 1), (0, 3, 1, 2))  # to channels last, to channels first


def _listed(arrays: Mapping[str, _Array]) -> str:
    return ", ".join(f"{name!r} {list(array.shape)}" for name, array in arrays.items())


def _difference(a: _Array, b: _Array) -> float:
    """Return the largest difference as a share of the largest value; of the moments, if the layouts differ."""
    if a.shape != b.shape and a.squeeze().shape != b.squeeze().shape:
        return Fingerprint.of(a).distance(Fingerprint.of(b))
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    scale = float(np.abs(y).max(initial=0))
    return float(np.abs(x - y).max(initial=0)) / (scale or 1.0)
