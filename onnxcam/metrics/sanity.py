"""Sanity checks: does the map depend on the weights of the model and on the class?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from onnxcam.errors import MetricError
from onnxcam.explainer.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.methods.base import docstring_summary
from onnxcam.metrics.base import Array
from onnxcam.metrics.map_sources import MapSource, of_method
from onnxcam.metrics.randomise import RandomisedModel, WeightedLayer
from onnxcam.progress import Progress

__all__ = [
    "CHECKS",
    "Batches",
    "Check",
    "CheckContext",
    "CheckResult",
    "cascading",
    "check",
    "independent",
    "rank_correlation",
    "require",
    "target",
]

Batches: TypeAlias = Callable[[], Iterable[tuple[Array, Array]]]
"""Function that yields the tensors [N, …] and classes [N] of all cases, batch by batch."""


@dataclass(frozen=True)
class CheckResult:
    """Result of a sanity check: similarity of the maps at each stage and for each case, and the verdict."""

    check: str
    method: str
    stages: tuple[str, ...]  # what was changed, in order
    similarity: Array  # [stages, cases], rank correlations
    passed: bool
    verdict: str

    @property
    def values(self) -> Array:
        """Value of the check for each case, [cases]."""
        return CHECKS[self.check].value(self.similarity)


@dataclass(frozen=True)
class CheckContext:
    """Input of a check: source of maps, model and images."""

    source: MapSource
    model: ModelLike
    batches: Batches
    classes: int
    seed: int
    progress: Progress

    def remade(self, model: ModelLike) -> MapSource:
        """Return the source of maps for another model; a baseline, which has no model, is returned as is."""
        own = self.source.explainer
        if own is None:
            return self.source
        layer = own.choice.layer.tensor if own.choice else None
        other = Explainer(model, own.method, layer, provider=own.provider, settings=own.settings)
        return of_method(other, self.source.channel or 0)

    def maps(self, source: MapSource) -> list[Array]:
        """Return the map [h, w] of every case at its own resolution."""
        return [source.flat(raw) for batch in self.batches() for raw in source.maps(*batch)]


@dataclass(frozen=True)
class Check:
    """Sanity check of a method: a function from a context to a result."""

    id: str
    summary: str
    function: Callable[..., CheckResult]
    value: Callable[[Array], Array]
    group: str = "sanity"
    higher: bool = False
    needs_truth: bool = False


CHECKS: dict[str, Check] = {}
"""Registry of checks by id."""


def check(
    id: str, value: Callable[[Array], Array]
) -> Callable[[Callable[..., CheckResult]], Callable[..., CheckResult]]:
    """Register a function as check *id*; *value* reduces similarities [stages, cases] to values [cases]."""

    def enter(function: Callable[..., CheckResult]) -> Callable[..., CheckResult]:
        CHECKS[id] = Check(id, docstring_summary(function), function, value)
        return function

    return enter


@check("sanity-cascading", value=lambda similarity: similarity[-1])
def cascading(context: CheckContext, *, stages: int = 10, limit: float = 0.5) -> CheckResult:
    """Rank correlation of the map with the map of the model with all weights randomised.

    Adebayo et al., Sanity Checks for Saliency Maps, 1810.03292: layers are randomised cumulatively from output to
    input, in the ONNX model itself; in *stages* groups if there are more layers. Passed if the final correlation,
    averaged over the images, is below *limit*.

    Example:
        >>> evaluate("model.onnx", ["cat.jpg"], metrics=["sanity-cascading"]).checks[0].verdict
    """
    randomised = RandomisedModel.of(context.model)
    groups = randomised.stages(stages)
    models = (
        (group[-1].name, randomised.shuffled(sum(groups[: i + 1], ()), context.seed)) for i, group in enumerate(groups)
    )
    names, similarity = _compared(context, models, len(groups))
    end = float(similarity[-1].mean())
    return _result(
        "sanity-cascading",
        context,
        names,
        similarity,
        end < limit,
        f"the map changes with the weights: rank correlation {end:.2f} once all are random",
        f"the map hardly changes with the weights: rank correlation {end:.2f} though all are random",
    )


@check("sanity-independent", value=lambda similarity: similarity.mean(0))
def independent(context: CheckContext, *, stages: int = 10, limit: float = 0.95) -> CheckResult:
    """Mean rank correlation of the map with the maps of models in which one layer is randomised.

    Adebayo et al., Sanity Checks for Saliency Maps, 1810.03292: each layer (or each of *stages* groups) is
    randomised alone. Passed if the correlation, averaged over the images, is below *limit* for every layer.

    Example:
        >>> evaluate("model.onnx", ["cat.jpg"], metrics=["sanity-independent"]).checks[0].passed
    """
    randomised = RandomisedModel.of(context.model)
    groups = randomised.stages(stages)
    models = ((_span(group), randomised.shuffled(group, context.seed)) for group in groups)
    names, similarity = _compared(context, models, len(groups))
    means = similarity.mean(1)
    deaf = [f"{name} ({mean:.2f})" for name, mean in zip(names, means, strict=True) if mean >= limit]
    more = f" and {len(deaf) - 3} more" if len(deaf) > 3 else ""
    return _result(
        "sanity-independent",
        context,
        names,
        similarity,
        not deaf,
        f"the map changes with each layer: rank correlation at most {means.max():.2f}",
        f"the map stays when a layer is random: {', '.join(deaf[:3])}{more}",
    )


@check("sanity-target", value=lambda similarity: similarity[-1])
def target(context: CheckContext, *, limit: float = 0.95) -> CheckResult:
    """Rank correlation of the map with the map of another, random class.

    Sixt et al., When Explanations Lie: Why Many Modified BP Attributions Fail, 1912.09818: the random logit test.
    Passed if the correlation, averaged over the images, is below *limit*.

    Example:
        >>> evaluate("model.onnx", ["cat.jpg"], metrics=["sanity-target"]).checks[0].passed
    """
    rng = np.random.default_rng(context.seed)
    own = context.source

    def other(x: Array, targets: Array) -> Array:
        return own.maps(x, (targets + rng.integers(1, context.classes, len(targets))) % context.classes)

    there = context.maps(MapSource(own.id, other, own.channel))
    similarity = np.array([[rank_correlation(a, b) for a, b in zip(context.maps(own), there, strict=True)]])
    mean = float(similarity.mean())
    return _result(
        "sanity-target",
        context,
        ["another class"],
        similarity,
        mean < limit,
        f"the map changes with the class: rank correlation {mean:.2f} with another",
        f"the map is the same for another class: rank correlation {mean:.2f}",
    )


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's rank correlation of two maps; 1 if they are equal, 0 if only one is constant.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
        1.0
    """
    if np.array_equal(a, b):
        return 1.0
    x, y = (_centred_ranks(heat.ravel()) for heat in (a, b))
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else 0.0


def _centred_ranks(x: Array) -> Array:
    """Return the ranks of *x* [n] minus their mean; ties get their mean rank.

    Equals `scipy.stats.rankdata` minus the mean, at a quarter of its time.
    """
    order = np.argsort(x)
    ends = np.append(np.flatnonzero(np.diff(x[order])), len(x) - 1)  # last index of each run of equal values
    starts = np.append(0, ends[:-1] + 1)
    ranks = np.empty(len(x))
    ranks[order] = np.repeat((starts + ends - (len(x) - 1)) / 2, ends - starts + 1)
    return ranks


def require(checks: Iterable[Check], model: ModelLike, classes: int) -> None:
    """Raise MetricError if one of *checks* does not apply to *model*."""
    for check in checks:
        if check.function is not target:
            RandomisedModel.of(model)
        elif classes < 2:
            raise MetricError(f"{check.id} compares with another class, but the model has only one; leave it out")


def _compared(context: CheckContext, models: Iterable[tuple[str, ModelLike]], total: int) -> tuple[list[str], Array]:
    first, names, rows = context.maps(context.source), [], []
    for name, model in context.progress(models, total):
        maps = context.maps(context.remade(model))
        names.append(name)
        rows.append([rank_correlation(a, b) for a, b in zip(first, maps, strict=True)])
    return names, np.array(rows)


def _span(group: Sequence[WeightedLayer]) -> str:
    return group[0].name if len(group) == 1 else f"{group[0].name} … {group[-1].name}"


def _result(
    id: str, context: CheckContext, names: Sequence[str], similarity: Array, passed: bool, good: str, bad: str
) -> CheckResult:
    verdict = f"{good}: passed" if passed else f"{bad}: FAILED"
    return CheckResult(id, context.source.id, tuple(names), similarity, passed, verdict)
