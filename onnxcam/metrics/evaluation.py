"""Pictures, methods and metrics -> an evaluation: every map of every method, measured."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxcam.errors import MetricError
from onnxcam.explainer.explainer import Explainer
from onnxcam.graph.io import ModelLike
from onnxcam.metrics.base import Case, Curve, Metric
from onnxcam.metrics.dataset import Bench, Item, PathLike
from onnxcam.metrics.lookup import Settings, choose, choose_methods, sort_settings
from onnxcam.metrics.map_sources import BASELINES, Source, baseline, of_method
from onnxcam.metrics.report import Evaluation, Measured
from onnxcam.metrics.sanity import Check, Subject, require
from onnxcam.metrics.truth import Truth
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, quiet
from onnxcam.targets import Target

BLIND = "rise"
"""The method whose graph has no gradient: what the network says costs one inference."""


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
    progress: Progress = quiet,
) -> Evaluation:
    """Measure how right the maps of *methods* are.

    Args:
        model: As of `onnxcam.Explainer`, as are *layer*, *preprocess*, *labels* and *provider*.
        images: Picture files.
        methods: Ids of methods.
        metrics: Ids or groups of metrics, or ``"all"``; none: those that make each map once (docs/evaluate.md).
        truth: Where the objects are, see `Truth`.
        target: The class to explain. None: every class that the truth names in a picture, else the model's top class.
        baselines: Whether to measure a random map and a centre prior too.
        settings: ``{"ID.name": value}``, such as ``{"rise.samples": 500, "deletion.steps": 50}``.
        batch_size: How many versions of a picture, or pictures, a pass holds.
        seed: Of all that is left to chance.
        progress: Wraps the cases and their number, to show how far it is.

    Raises:
        OnnxcamError: with one line that says what is wrong, before anything long is begun where that can be known.

    Example:
        >>> found = evaluate("model.onnx", ["cat.jpg"], methods=["gradcam", "rise"], truth="masks")
        >>> found.save("out")
    """
    require_scipy()
    known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
    chosen, ids = choose(metrics, known is not None), choose_methods(methods)
    own = sort_settings(settings or {}, ids, chosen)
    network = Explainer(model, BLIND, target=target, provider=provider, preprocess=preprocess, labels=labels)
    bench = Bench(network, known, target, tuple(images), batch_size, seed)

    def sources() -> Iterator[Source]:
        for id in ids:
            explainer = Explainer(model, id, layer, provider=provider, labels=labels, settings=own[id])
            yield of_method(explainer, bench.channel)
        for id in BASELINES if baselines else ():
            yield baseline(id, bench.channel, seed)

    found = Evaluation(
        model=os.fspath(model) if isinstance(model, str | os.PathLike) else None,
        preprocess=str(network.preprocessing),
        truth=None if known is None else {"path": os.fspath(known.path), "values": known.values},
        batch_size=batch_size,
        seed=seed,
        settings=own,
        better={thing.id: "higher" if thing.higher else "lower" for thing in chosen},
        warnings=list(network.warnings),
    )
    own_metrics = [thing for thing in chosen if isinstance(thing, Metric)]
    checks = [thing for thing in chosen if isinstance(thing, Check)]
    require(checks, model, bench.classes)
    for _ in sources() if len(ids) > 1 else ():
        pass  # a method that does not apply is known before the first is measured
    total = (len(ids) + (len(BASELINES) if baselines else 0)) * len(bench.items)
    for source, item, case in progress(_cases(bench, sources(), found), total):
        found.rows.append(_measure(source, item, case, own_metrics, own, found))
    for source in sources() if checks else ():
        subject = Subject(source, model, bench.batches, bench.classes, seed, progress)
        for check in checks:
            found.add(check.function(subject, **own[check.id]))
    return found


def require_scipy(command: str = "evaluate", extra: str = "evaluate") -> None:
    """MetricError where SciPy, on which *command* rests, is not installed."""
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise MetricError(f"{command} needs SciPy, which is not installed; pip install 'onnxcam[{extra}]'") from None


def _cases(bench: Bench, sources: Iterator[Source], found: Evaluation) -> Iterator[tuple[Source, Item, Case]]:
    """Yield every case of every source, and note what is to be known of them."""
    for source in sources:
        choice = source.explainer.choice if source.explainer else None
        found.layers[source.id] = choice.layer.name if choice else None
        blank = 0
        for item, case in bench.cases(source):
            blank += not case.shown.any()
            yield source, item, case
        if blank:
            found.warnings.append(
                f"{source.id}: {blank} of {len(bench.items)} maps are blank: nothing speaks for the class there"
            )


def _measure(
    source: Source, item: Item, case: Case, metrics: Sequence[Metric], settings: Settings, found: Evaluation
) -> Measured:
    """Return what *metrics* say of *case*; curves go into *found*."""
    row = Measured(os.fspath(item.image), item.target, item.label, source.id)
    for metric in metrics:
        measured = metric.measure(case, settings[metric.id])
        if isinstance(measured, Curve):
            found.curves.setdefault(metric.id, {}).setdefault(source.id, []).append(measured)
        row.values[metric.id] = measured.value if isinstance(measured, Curve) else float(measured)
    return row
