"""Evaluate explanation methods: apply the metrics to every map of every method."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxcam.errors import MetricError
from onnxcam.explainer.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.metrics.base import Case, Curve, Metric
from onnxcam.metrics.dataset import Dataset, Item
from onnxcam.metrics.lookup import Settings, choose, choose_methods, sort_settings
from onnxcam.metrics.map_sources import BASELINES, MapSource, baseline, of_method
from onnxcam.metrics.results import Evaluation, Measurement
from onnxcam.metrics.sanity import Check, CheckContext, require
from onnxcam.metrics.truth import Truth
from onnxcam.paths import PathLike
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, quiet
from onnxcam.targets import Target

__all__ = ["GRADIENT_FREE", "evaluate", "require_scipy"]

GRADIENT_FREE = "rise"
"""Method without gradients: opening it adds nothing to the model, so a prediction costs one inference."""


def evaluate(
    model: ModelLike,
    images: Sequence[PathLike],
    *,
    methods: Sequence[str] = ("gradcam",),
    metrics: Sequence[str] = (),
    truth: PathLike | Truth | None = None,
    target: Target = None,
    baselines: bool = False,
    settings: Mapping[str, Any] | None = None,
    layer: str | None = None,
    preprocess: Spec | None = None,
    labels: PathLike | Sequence[str] | None = None,
    provider: str = "auto",
    batch_size: int = 16,
    seed: int = 0,
    strict: bool = False,
    progress: Progress = quiet,
) -> Evaluation:
    """Measure the quality of the maps of *methods*.

    Args:
        model: As for `onnxcam.Explainer`; likewise *layer*, *preprocess*, *labels* and *provider*.
        images: Image files.
        methods: Ids of methods.
        metrics: Ids or groups of metrics, or ``"all"``. Default: the groups that compute each map once
            (docs/evaluate.md).
        truth: Ground truth, see `Truth`.
        target: Class to explain. None: every class that the ground truth names in an image, otherwise the top class.
        baselines: Also measure a random map and a centre prior.
        settings: ``{"ID.name": value}``, such as ``{"rise.samples": 500, "deletion.steps": 50}``.
        batch_size: Images, or perturbed copies of one image, per pass.
        seed: Random seed.
        strict: Raise on an image that cannot be read; otherwise leave it out and name it in the result.
        progress: Progress callback, see `onnxcam.progress`.

    Raises:
        OnnxcamError: invalid arguments or files; checked before the measurement where possible.

    Example:
        >>> found = evaluate("model.onnx", ["cat.jpg"], methods=["gradcam", "rise"], truth="masks")
        >>> found.save("out")
    """
    require_scipy()
    known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
    chosen, ids = choose(metrics, known is not None and known.locates), choose_methods(methods)
    own = sort_settings(settings or {}, ids, chosen)
    network = Explainer(model, GRADIENT_FREE, target=target, provider=provider, preprocess=preprocess, labels=labels)
    dataset = Dataset(network, known, target, tuple(images), batch_size, seed, strict)

    def sources() -> Iterator[MapSource]:
        for id in ids:
            explainer = Explainer(model, id, layer, None, provider, preprocess, labels, settings=own[id])
            yield of_method(explainer, dataset.channel)
        for id in BASELINES if baselines else ():
            yield baseline(id, dataset.channel, seed)

    found = Evaluation(
        model=os.fspath(model) if isinstance(model, str | os.PathLike) else None,
        preprocess=str(network.preprocessing),
        truth=None
        if known is None
        else {"path": os.fspath(known.path), "format": known.format, "values": known.values},
        batch_size=batch_size,
        seed=seed,
        settings=own,
        better={thing.id: "higher" if thing.higher else "lower" for thing in chosen},
        warnings=[*network.warnings, *dataset.notes],
        unreadable=dataset.unreadable,
    )
    own_metrics = [thing for thing in chosen if isinstance(thing, Metric)]
    checks = [thing for thing in chosen if isinstance(thing, Check)]
    require(checks, model, dataset.classes)
    for _ in sources() if len(ids) > 1 else ():
        pass  # find methods that do not apply before the measurement
    total = (len(ids) + (len(BASELINES) if baselines else 0)) * len(dataset.items)
    for source, item, case in progress(_cases(dataset, sources(), found), total):
        found.rows.append(_measure(source, item, case, own_metrics, own, found))
    for source in sources() if checks else ():
        context = CheckContext(source, model, dataset.batches, dataset.classes, seed, progress)
        for check in checks:
            found.add(check.function(context, **own[check.id]))
    return found


def _truth_identity(truth: Truth) -> dict[str, str]:
    return {"path": os.fspath(truth.path), "format": truth.format, "values": truth.values}


def require_scipy(command: str = "evaluate", extra: str = "evaluate") -> None:
    """Raise MetricError if SciPy, which *command* needs, is not installed."""
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise MetricError(f"{command} needs SciPy, which is not installed; pip install 'onnxcam[{extra}]'") from None


def _cases(dataset: Dataset, sources: Iterator[MapSource], found: Evaluation) -> Iterator[tuple[MapSource, Item, Case]]:
    """Yield every case of every source; record layers and warnings in *found*."""
    for source in sources:
        choice = source.explainer.choice if source.explainer else None
        found.layers[source.id] = choice.layer.name if choice else None
        blank = 0
        for item, case in dataset.cases(source):
            blank += not case.shown.any()
            yield source, item, case
        if blank:
            found.warnings.append(
                f"{source.id}: {blank} of {len(dataset.items)} maps are blank: no positive evidence for the class"
            )


def _measure(
    source: MapSource, item: Item, case: Case, metrics: Sequence[Metric], settings: Settings, found: Evaluation
) -> Measurement:
    """Apply *metrics* to *case*; add curves to *found*."""
    row = Measurement(os.fspath(item.image), item.target, item.label, source.id)
    for metric in metrics:
        measured = metric.measure(case, settings[metric.id])
        if isinstance(measured, Curve):
            found.curves.setdefault(metric.id, {}).setdefault(source.id, []).append(measured)
        row.values[metric.id] = measured.value if isinstance(measured, Curve) else measured
    return row
