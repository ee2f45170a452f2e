"""Run of an evaluation: model, images, methods and metrics, checked, and the measurement of some or all images."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from onnxcam.errors import MetricError
from onnxcam.explainer.explainer import Explainer
from onnxcam.explainer.named_files import hashes, named_by
from onnxcam.graph.io import ModelLike, load
from onnxcam.graph.model_files import model_hash
from onnxcam.hub import name_of
from onnxcam.media.video import frames_of
from onnxcam.methods import find_method
from onnxcam.methods.settings import require_layer_is_used
from onnxcam.metrics.base import Case, Curve, Metric
from onnxcam.metrics.dataset import Dataset, Item
from onnxcam.metrics.lookup import choose, choose_methods, sort_settings
from onnxcam.metrics.map_sources import BASELINES, MapSource, baseline, of_method
from onnxcam.metrics.measurements import ImageMeasurements
from onnxcam.metrics.results import Evaluation, Measurement
from onnxcam.metrics.sanity import Check, require
from onnxcam.metrics.truth import Truth
from onnxcam.model.signals import SignalChoice
from onnxcam.paths import PathLike
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, Told, untold, values_in_words
from onnxcam.shards import Shard, list_identity
from onnxcam.targets import Target

__all__ = ["GRADIENT_FREE", "EvaluationRun", "require_scipy"]

GRADIENT_FREE = "rise"
"""Method without gradients: opening it adds nothing to the model, so a prediction costs one inference."""


@dataclass(frozen=True)
class EvaluationRun:
    """A model, images, sources of maps and metrics that fit each other.

    Attributes:
        dataset: The images and their classes.
        methods: Ids of methods.
        baselines: Ids of baselines.
        metrics: Metrics of one map.
        checks: Sanity checks, of all maps.
        empty: The evaluation before anything is measured.
    """

    dataset: Dataset
    methods: Sequence[str]
    baselines: Sequence[str]
    metrics: Sequence[Metric]
    checks: Sequence[Check]
    empty: Evaluation
    _options: Mapping[str, Any]

    @classmethod
    def of(
        cls,
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
        text_model: PathLike | None = None,
        tokenizer: PathLike | None = None,
        batch_size: int = 16,
        seed: int = 0,
        strict: bool = False,
        frames: int | str | None = None,
        rate: float | None = None,
        start: int | str | None = None,
        resample: bool = False,
        shard: Shard | None = None,
    ) -> EvaluationRun:
        """Return the run with the arguments of `onnxcam.metrics.evaluate`, and the images of *shard*."""
        require_scipy()
        known = Truth(truth) if isinstance(truth, str | os.PathLike) else truth
        chosen, ids = choose(metrics, known is not None and known.locates), choose_methods(methods)
        checks = [thing for thing in chosen if isinstance(thing, Check)]
        if shard is not None and checks:
            raise MetricError(
                f"{checks[0].id} compares the maps of all images at once and cannot be split; leave it out with "
                "--shard, and measure it in a run of its own"
            )
        own = sort_settings(settings or {}, ids, chosen)
        require_layer_is_used([find_method(id) for id in ids], layer)
        options: dict[str, Any] = {"provider": provider, "preprocess": preprocess, "labels": labels}
        options |= {"text_model": text_model, "tokenizer": tokenizer}
        options |= {"rate": rate, "start": start, "resample": resample}
        network = Explainer(model, GRADIENT_FREE, target=target, **options)
        names, told = frames_of([os.fspath(image) for image in images], frames)
        dataset = Dataset(network, known, target, tuple(names), batch_size, seed, strict, shard)
        found = Evaluation(
            model=name_of(model) if isinstance(model, str | os.PathLike) else None,
            preprocess=network.network.modality.reading.value,
            truth=None
            if known is None
            else {"path": os.fspath(known.path), "format": known.format, "values": known.values},
            batch_size=batch_size,
            seed=seed,
            settings=own,
            better={thing.id: "higher" if thing.higher else "lower" for thing in chosen},
            warnings=[*told, *network.warnings, *dataset.notes],
            unreadable=dataset.unreadable,
            guessed={part.name: part.value for part in network.network.reading if part.guessed},
        )
        if checks and dataset.compares:
            raise MetricError(f"{checks[0].id} is for classifiers; leave it out for {dataset.target!r}")
        require(checks, model, dataset.classes)
        options |= {"target": target} if dataset.compares else {}
        run = cls(
            dataset,
            ids,
            BASELINES if baselines else (),
            [thing for thing in chosen if isinstance(thing, Metric)],
            checks,
            found,
            {"model": model, "layer": layer, **options},
        )
        for _ in run.sources() if len(ids) > 1 else ():
            pass  # find methods that do not apply before the measurement
        return run

    def sources(self) -> Iterator[MapSource]:
        """Yield the sources of maps: methods, then baselines."""
        for id in self.methods:
            layer = self._options["layer"] if find_method(id).uses_layer else None
            own = {**self._options, "layer": layer}
            explainer = Explainer(method=id, settings=self.empty.settings[id], **own)
            yield of_method(explainer, self.dataset.channel)
        for id in self.baselines:
            yield baseline(id, self.dataset.channel, self.empty.seed)

    def measure(
        self, progress: Progress, done: Collection[int] = (), told: Told = untold
    ) -> Iterator[tuple[int, ImageMeasurements]]:
        """Yield what is measured of each image with each source, and its number, see `EvaluationJournal`.

        Those with the numbers in *done* are omitted; *told* takes the others in words. Records the layers in `empty`.
        """
        images, items = len(self.dataset.images), self.dataset.items
        sources = len(self.methods) + len(self.baselines)
        left = sum(at * images + item.number not in done for at in range(sources) for item in items)
        cases = progress(self._cases(done), left)
        for number, group in groupby(cases, key=lambda one: one[0] * images + one[2].number):
            measured = self._measured([(source, item, case) for _, source, item, case in group])
            told(f"{measured.image}: {values_in_words(measured.rows[0].values)} by {measured.rows[0].method}")
            yield number, measured

    def _cases(self, done: Collection[int]) -> Iterator[tuple[int, MapSource, Item, Case]]:
        images = len(self.dataset.images)
        for at, source in enumerate(self.sources()):
            choice = source.explainer.choice if source.explainer else None
            self.empty.layers[source.id] = choice.layer.name if choice else None
            own = {number - at * images for number in done}
            for item, case in self.dataset.cases(source, own):
                yield at, source, item, case

    def _measured(self, cases: Sequence[tuple[MapSource, Item, Case]]) -> ImageMeasurements:
        """Apply the metrics to all *cases* of one image and source."""
        rows, curves = [], []
        for source, item, case in cases:
            found = {metric.id: metric.measure(case, self.empty.settings[metric.id]) for metric in self.metrics}
            curves.append({id: x for id, x in found.items() if isinstance(x, Curve)})
            values = {id: x.value if isinstance(x, Curve) else x for id, x in found.items()}
            rows.append(Measurement(os.fspath(item.image), item.target, item.label, source.id, values))
        return ImageMeasurements(rows[0].image, rows, curves, sum(not case.shown.any() for _, _, case in cases))

    def identity(self) -> dict[str, Any]:
        """Return the identity of the run: a journal resumes only if it is the same."""
        model, network, empty = self._options["model"], self.dataset.network, self.empty
        tower = network.network.text_tower
        return {
            **({} if tower is None else {"text tower": tower.digest}),
            **({} if network.network.signals == SignalChoice() else {"signals": str(network.network.signals)}),
            **({"files": files} if (files := hashes(named_by(self.dataset.target, network.class_names))) else {}),
            "model sha256": model_hash(model, load(model)),
            "provider": str(self._options["provider"]),
            "layer": str(self._options["layer"]),
            "labels": list_identity(network.class_names or []),
            "target": str(self.dataset.target),
            "methods": [*self.methods, *self.baselines],
            "metrics": [metric.id for metric in self.metrics],
            "settings": empty.settings,
            "preprocess": empty.preprocess,
            "truth": empty.truth,
            "batch_size": empty.batch_size,
            "seed": empty.seed,
            "pictures": list_identity(self.dataset.images),
        }


def require_scipy(command: str = "evaluate", extra: str = "evaluate") -> None:
    """Raise MetricError if SciPy, which *command* needs, is not installed."""
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise MetricError(f"{command} needs SciPy, which is not installed; pip install 'onnxcam[{extra}]'") from None
