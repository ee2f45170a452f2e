"""Evaluate explanation methods: apply the metrics to every map of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxcam.graph.io import ModelLike
from onnxcam.metrics.evaluation_run import EvaluationRun
from onnxcam.metrics.measurements import assembled
from onnxcam.metrics.results import Evaluation
from onnxcam.metrics.sanity import CheckContext
from onnxcam.metrics.truth import Truth
from onnxcam.paths import PathLike
from onnxcam.preprocess import Spec
from onnxcam.progress import Progress, Told, quiet, untold
from onnxcam.targets import Target

__all__ = ["evaluate"]


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
    text_model: PathLike | None = None,
    tokenizer: PathLike | None = None,
    batch_size: int = 16,
    seed: int = 0,
    strict: bool = False,
    frames: int | str | None = None,
    rate: float | None = None,
    start: int | str | None = None,
    resample: bool = False,
    progress: Progress = quiet,
    told: Told = untold,
) -> Evaluation:
    """Measure the quality of the maps of *methods*.

    Args:
        model: As for `onnxcam.Explainer`; likewise *layer*, *preprocess*, *labels* and *provider*.
        images: Image files; of a video the *frames* are images. Of networks of signals or volumes, files of these
            (docs/signals.md, docs/volumes.md).
        methods: Ids of methods.
        metrics: Ids or groups of metrics, or ``"all"``. Default: the groups that compute each map once
            (docs/evaluate.md).
        truth: Ground truth, see `Truth`.
        target: Class to explain. None: every class that the ground truth names in an image, otherwise the top class.
            Of an embedding a comparison, ``like="a dog"`` (docs/evaluate.md).
        baselines: Also measure a random map and a centre prior.
        settings: ``{"ID.name": value}``, such as ``{"rise.samples": 500, "deletion.steps": 50}``.
        text_model: As for `onnxcam.Explainer`, likewise *tokenizer*.
        batch_size: Images, or perturbed copies of one image, per pass.
        seed: Random seed.
        strict: Raise on an image that cannot be read; otherwise leave it out and name it in the result.
        frames: Which frames of a video: so many, spread evenly, ``"stride=5"`` or ``"fps=2"``; None: 32.
        rate: Of a model of signals, as for `onnxcam.Explainer`; likewise *start* and *resample*.
        progress: Progress callback, see `onnxcam.progress`.
        told: Takes what is measured of an image in words, as soon as it is there.

    Raises:
        OnnxcamError: invalid arguments or files; checked before the measurement where possible.

    Example:
        >>> found = evaluate("model.onnx", ["cat.jpg"], methods=["gradcam", "rise"], truth="masks")
        >>> found.save("out")
    """
    run = EvaluationRun.of(
        model,
        images,
        methods=methods,
        metrics=metrics,
        truth=truth,
        target=target,
        baselines=baselines,
        settings=settings,
        layer=layer,
        preprocess=preprocess,
        labels=labels,
        provider=provider,
        text_model=text_model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        seed=seed,
        strict=strict,
        frames=frames,
        rate=rate,
        start=start,
        resample=resample,
    )
    found = assembled(run.empty, (measured for _, measured in run.measure(progress, told=told)))
    for source in run.sources() if run.checks else ():
        context = CheckContext(source, model, run.dataset.batches, run.dataset.classes, seed, progress)
        for check in run.checks:
            found.add(check.function(context, **run.empty.settings[check.id]))
    return found
