"""``onnxcam batch``: explain any number of pictures; write rows to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import effects, options, summary
from onnxcam.paths import is_address

if TYPE_CHECKING:
    from onnxcam.batching.batch import BatchSummary

SourceArgument = Annotated[
    list[str],
    typer.Argument(
        help="Pictures: files, folders, quoted patterns, lists (.txt), manifests (.csv, .tsv, .jsonl, .parquet), COCO "
        "JSON, voc:FOLDER, imagefolder:FOLDER, WebDataset .tar, or addresses such as s3://bucket/photos.",
        show_default=False,
    ),
]


def command(
    model: Annotated[str, typer.Argument(help="Model (.onnx), a file or an address.", show_default=False)],
    source: SourceArgument,
    output: Annotated[str, typer.Option("--output", "-o", help="Output folder, or an address.")] = "onnxcam-batch",
    method: Annotated[str, typer.Option("--method", "-m", help="Explanation method.")] = "auto",
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="What to explain in a picture that names no target itself: as for `onnxcam explain`; repeatable.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", "-k", min=1, help="Explain the k highest-scoring classes or detections."),
    ] = None,
    shard: Annotated[str, typer.Option(help="Only the pictures of shard i of n, i from 0: i/n.")] = "0/1",
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes that explain.")] = 1,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine; ray: actors of Ray Data (docs/batch-ray.md).")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="With --engine ray: the cluster, such as auto.", show_default=False)
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Processors of each worker. Default: its share.", show_default=False)
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="With --engine ray: GPUs of each worker, such as 0.25.", show_default=False)
    ] = 0.0,
    truth: options.TruthOption = None,
    mask_values: options.MaskValuesOption = "object",
    images: Annotated[
        str | None,
        typer.Option(help="Folder that the paths in a manifest or COCO JSON are relative to.", show_default=False),
    ] = None,
    part_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pictures in a Parquet file. Default: 512; 32 for methods of many passes.", show_default=False
        ),
    ] = None,
    overlays: Annotated[bool, typer.Option("--overlays", help="Also write overlays.")] = False,
    format: Annotated[str, typer.Option("--format", help="Format of the overlays: jpeg, png or webp.")] = "jpeg",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Quality of JPEG and WebP overlays.")] = 90,
    maps: Annotated[str, typer.Option(help="raw: rows hold the raw map; none: only what is measured on it.")] = "raw",
    settings: options.SettingsOption = None,
    smooth: Annotated[str, typer.Option(help="Smoothing: none, aug, eigen or aug+eigen.")] = "none",
    layer: options.LayerOption = "auto",
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    inputs: options.InputsOption = None,
    wrt: options.WrtOption = None,
    task: options.TaskOption = None,
    scores: options.ScoresOutputOption = None,
    boxes_output: options.BoxesOutputOption = None,
    letters: options.LettersOption = None,
    text_model: options.TextModelOption = None,
    tokenizer: options.TokenizerOption = None,
    provider: options.ProviderOption = "auto",
    signed: Annotated[bool, typer.Option("--signed", help="Keep negative evidence.")] = False,
    picture_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds after which a picture is given up.")
    ] = 600.0,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Make parts again that hold a row with an error.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove the batch in the output folder.")] = False,
) -> None:
    """Explain any number of pictures. Writes rows to Parquet: one for each picture and target, also for failures.

    An interrupted run resumes when you repeat the command. Shards may run anywhere; `onnxcam merge` joins them.
    """
    from onnxcam.batching.batch import batch
    from onnxcam.cli import show
    from onnxcam.explainer.drawing import Drawing, check_drawing

    if top is not None and target:
        raise typer.BadParameter("--top and --target exclude each other; give one")
    if not overlays:
        effects.require_no_effect_is_asked("format quality", "without --overlays")
    if format == "png":
        effects.require_no_effect_is_asked("quality", "with --format png, which is exact")
    if truth is None:
        effects.require_no_effect_is_asked("mask_values", "without --truth")
    drawing = Drawing(format=format, quality=quality)  # type: ignore[typeddict-item]
    check_drawing(drawing)
    found = batch(
        model,
        source,
        output,
        targets=[f"top={top}"] if top else options.once(target) or [None],
        truth=truth,
        mask_values=mask_values,
        images=images,
        shard=shard,
        part_size=part_size,
        workers=workers,
        engine=engine,  # type: ignore[arg-type]
        address=address,
        cpus=cpus,
        gpus=gpus,
        overlays=drawing if overlays else None,
        maps=maps,
        picture_timeout=picture_timeout,
        retry_errors=retry_errors,
        overwrite=overwrite,
        progress=summary.telling_first(show.explaining, lambda: _first_part(output), show.print_err),
        method=method,
        layer=layer,
        provider=provider,
        preprocess=preprocess,
        labels=labels,
        settings=options.pairs(settings),
        smooth=smooth,
        signed=signed,
        inputs=options.pairs(inputs, "--input", "question=…"),
        wrt=wrt,
        task=task,
        scores_output=scores,
        boxes_output=boxes_output,
        letters=letters,
        text_model=text_model,
        tokenizer=tokenizer,
    )
    finish(found, output, as_json=as_json)
    if found.rows and found.rows == found.errors:
        raise typer.Exit(1)


def _first_part(output: str) -> str:
    """Return the first part that is written; empty if there is none, or *output* is an address, which is slow."""
    parts = () if is_address(output) else sorted(Path(output).glob("part-*.parquet"))
    return next(map(str, parts), "")


def finish(found: BatchSummary, output: str, *, as_json: bool) -> None:
    """Print what a batch holds, and its first error."""
    from dataclasses import asdict

    from onnxcam.cli import show

    if as_json:
        show.json(asdict(found))
    else:
        rows = [("pictures", f"{found.pictures:,}"), ("rows", f"{found.rows:,}"), ("errors", f"{found.errors:,}")]
        show.table(("batch", "# count"), rows)
        show.where(output)
    if found.errors:
        show.warnings([f"{found.errors} rows hold an error, the first: {found.first_error}"])
    for warning, count in found.warnings.items():
        some = "" if count == found.rows else f" ({count:,} of {found.rows:,} rows)"
        show.warnings([f"{warning}{some}"])
    summary.RunSummary(
        f"{summary.counted(found.pictures, 'picture')}, {summary.counted(found.rows, 'row')}, "
        f"{summary.counted(found.errors, 'error')}",
        output,
        first=found.first_error,
        next=f"what the network should not look at: onnxcam audit {summary.shell(output)}",
    ).tell()
