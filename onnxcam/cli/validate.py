"""``onnxcam validate``: does the candidate still look where the reference does?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options, verdict


def _own(*names: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(*names, help=help, show_default=False)


def command(
    reference: Annotated[Path, typer.Argument(help="The model to be measured by, an .onnx file.", show_default=False)],
    candidate: Annotated[
        Path, typer.Argument(help="The model that is measured: quantised, pruned, converted, …", show_default=False)
    ],
    images: options.Images,
    method: Annotated[str, typer.Option("--method", "-m", help="A method's id.")] = "gradcam",
    target: Annotated[
        str, typer.Option("--target", "-t", help="top (the reference's own), a class index or a label.")
    ] = "top",
    truth: options.Truth = None,
    mask_values: options.MaskValues = "object",
    require: options.Require = None,
    layer: options.Layer = "auto",
    candidate_layer: Annotated[
        str | None, _own("--candidate-layer", help="The candidate's, where it has another name.")
    ] = None,
    preprocess: options.Preprocess = None,
    reference_preprocess: Annotated[
        str | None, _own("--reference-preprocess", help="The reference's own, in place of --preprocess.")
    ] = None,
    candidate_preprocess: Annotated[
        str | None, _own("--candidate-preprocess", help="The candidate's own, in place of --preprocess.")
    ] = None,
    labels: options.Labels = None,
    settings: options.Settings = None,
    provider: options.Provider = "auto",
    candidate_provider: Annotated[
        str | None, _own("--candidate-provider", help="The candidate's, where it is another.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also tell at which layer the two begin to look elsewhere.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures that a run holds.")] = 8,
    jobs: Annotated[
        int | None, _own("--jobs", "-j", help="Threads that read pictures; else one a core, at most 4.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at a picture that cannot be read.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print validation.json.")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("onnxcam-validation"),
) -> None:
    """Compare two models picture by picture. Their answers, and where they look. Exit code 0: it holds, 1: not.

    What is killed on the way goes on where it was when the same command is given again.
    """
    from onnxcam.cli import show
    from onnxcam.compare.observer import Observer
    from onnxcam.compare.thresholds import DEFAULTS
    from onnxcam.compare.validate import observing, validate
    from onnxcam.metrics.truth import Truth

    shared = {"method": method, "labels": labels, "settings": options.pairs(settings)}

    def open_side(side: str, model: Path, layer: str, how: str | None, provider: str) -> Observer:
        with show.waiting(f"opening {model}"):
            return observing(side, model, layer=layer, preprocess=how, provider=provider, **shared)

    found = validate(
        open_side("reference", reference, layer, reference_preprocess or preprocess, provider),
        open_side(
            "candidate",
            candidate,
            candidate_layer or layer,
            candidate_preprocess or preprocess,
            candidate_provider or provider,
        ),
        images,
        output,
        target=target,
        truth=None if truth is None else Truth(truth, mask_values),
        require=DEFAULTS if require is None else require,
        strict=strict,
        overwrite=overwrite,
        batch_size=batch_size,
        jobs=jobs,
        layers=layers,
        progress=show.comparing,
    )
    verdict.tell(found, output, overwrite=overwrite, as_json=as_json)
