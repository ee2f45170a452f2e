"""``onnxcam validate``: compare the predictions and explanations of two models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from onnxcam.cli import effects, options, parts, verdict
from onnxcam.cli.summary import FirstResult, shell


def _own(*names: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(*names, help=help, show_default=False)


def command(
    reference: Annotated[Path, typer.Argument(help="Reference model (.onnx).", show_default=False)],
    candidate: Annotated[
        Path,
        typer.Argument(
            help="Model to check against the reference: quantised, pruned, converted, …", show_default=False
        ),
    ],
    images: options.ImagesArgument,
    method: Annotated[str, typer.Option("--method", "-m", help="Explanation method.")] = "auto",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="Class, an index or a label: a classifier explains it; of a detector or a segmentation only its "
            "objects are compared; an embedding explains like=FILE, like='a dog'. Default: the top class, all objects.",
        ),
    ] = "top",
    truth: options.TruthOption = None,
    mask_values: options.MaskValuesOption = "object",
    require: options.RequireOption = None,
    layer: options.LayerOption = "auto",
    candidate_layer: Annotated[
        str | None, _own("--candidate-layer", help="Layer of the candidate. Default: --layer.")
    ] = None,
    preprocess: options.PreprocessOption = None,
    reference_preprocess: Annotated[
        str | None, _own("--reference-preprocess", help="Preprocessing of the reference. Default: --preprocess.")
    ] = None,
    candidate_preprocess: Annotated[
        str | None, _own("--candidate-preprocess", help="Preprocessing of the candidate. Default: --preprocess.")
    ] = None,
    labels: options.LabelsOption = None,
    settings: options.SettingsOption = None,
    provider: options.ProviderOption = "auto",
    candidate_provider: Annotated[
        str | None, _own("--candidate-provider", help="Execution provider of the candidate. Default: --provider.")
    ] = None,
    text_model: options.TextModelOption = None,
    candidate_text_model: Annotated[
        Path | None, _own("--candidate-text-model", help="Text tower of the candidate. Default: --text-model.")
    ] = None,
    tokenizer: options.TokenizerOption = None,
    rate: options.RateOption = None,
    start: options.StartOption = None,
    resample: options.ResampleOption = False,
    window: options.NoWindowOption = None,
    prompt: parts.PromptOption = None,
    image_token: parts.ImageTokenOption = None,
    runner: Annotated[
        str | None,
        _own(
            "--runner",
            help="Python function that runs the candidate in another engine, module:function or file.py:function. "
            "Predictions come from it, maps from where --maps says.",
        ),
    ] = None,
    runner_timeout: Annotated[float, typer.Option(min=0.001, help="Time limit of a run of it, in seconds.")] = 60,
    maps: Annotated[
        str,
        typer.Option(
            help="Where maps come from: graph (gradients; those of a --runner in the graph of CANDIDATE), or black-box "
            "(outputs for covered images, of the --runner if there is one; many runs)."
        ),
    ] = "graph",
    objects: Annotated[
        int, typer.Option(min=1, max=100, help="Things explained in an image, where a task predicts several.")
    ] = 3,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also report the first layer where the two models disagree.")
    ] = False,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="Also report which quantised tensors of the candidate cause the difference, from the worst images "
            "(docs/diagnose.md).",
        ),
    ] = False,
    frames: options.FramesOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per pass.")] = 8,
    jobs: Annotated[
        int | None, _own("--jobs", "-j", help="Threads that read images. Default: one per core, at most 4.")
    ] = None,
    shard: options.ShardOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at an unreadable image instead of skipping it.")
    ] = False,
    overwrite: options.ReplaceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print validation.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Report folder.")] = Path("onnxcam-validation"),
) -> None:
    """Compare the predictions and explanations of two models. Exit code 0: all requirements are met, 1: at least one
    fails, 3: undecided, because the inputs of the two models differ or a guessed preprocessing decides.

    An interrupted run resumes when you repeat the command. With --shard there is no verdict: exit code 0 says that the
    shard is complete.
    """
    from onnxcam.cli import show
    from onnxcam.compare.observer import Observer
    from onnxcam.compare.validate import validate
    from onnxcam.compare.validate_shard import validate_shard
    from onnxcam.compare.validation_run import observing
    from onnxcam.errors import MetricError
    from onnxcam.metrics.truth import Truth

    if truth is None:
        effects.require_no_effect_is_asked("mask_values", "without --truth")
    if why and shard is not None:
        raise MetricError(
            "--why needs the worst of all images; leave it out, merge the shards, and run `onnxcam diagnose`"
        )

    shared = {
        "method": method,
        "labels": labels,
        "settings": options.pairs(settings),
        "objects": objects,
        "maps": maps,
        "tokenizer": tokenizer,
        "rate": rate,
        "start": start,
        "resample": resample,
        "prompt": prompt,
        "image_token": image_token,
    }

    def open_side(side: str, model: Path, layer: str, how: str | None, provider: str, **own: Any) -> Observer:
        with show.waiting(f"opening {model}"):
            return observing(side, model, layer=layer, preprocess=how, provider=provider, **shared, **own)

    first = open_side(
        "reference", reference, layer, reference_preprocess or preprocess, provider, text_model=text_model
    )
    second = open_side(
        "candidate",
        candidate,
        candidate_layer or layer,
        candidate_preprocess or preprocess,
        candidate_provider or provider,
        text_model=candidate_text_model or text_model,
        runner=runner,
        runner_timeout=runner_timeout,
    )
    given: dict[str, Any] = {
        "target": target,
        "truth": None if truth is None else Truth(truth, mask_values),
        "require": require,
        "strict": strict,
        "overwrite": overwrite,
        "batch_size": batch_size,
        "jobs": jobs,
        "frames": frames,
        "layers": layers,
        "progress": show.comparing,
        "told": FirstResult(show.print_err),
    }
    if shard is not None:
        show.shard(validate_shard(first, second, images, output, shard, **given), output, as_json=as_json)
        return
    found = validate(first, second, images, output, **given)
    if why:
        from onnxcam.diagnosis.why import add_diagnosis

        add_diagnosis(found, reference, second, output, target=target, progress=show.diagnosing)
    again = "" if layers else "the first layer that differs: --layers"
    if "int" in found.candidate.kind and not why:
        again = f"why: onnxcam diagnose {shell(reference)} {shell(candidate)} {' '.join(map(shell, images[:1]))}"
    verdict.finish(found, output, overwrite=overwrite, as_json=as_json, again=again)
