"""``onnxcam pack``: write a zip that records on a device with Python, NumPy and ONNX Runtime alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxcam.cli import options
from onnxcam.cli.summary import RunSummary, done_of
from onnxcam.paths import left_out


def command(
    model: options.ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file (.zip).", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Option(
            "--images",
            "-i",
            help="Images to include, preprocessed: files, folders, glob patterns or lists; repeatable. Without "
            "this option, name images of the input's size on the device: python run.py a.ppm b.npy -o run.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option("--method", "-m", help="Explanation method; it must need one pass only. auto: that of the task."),
    ] = "auto",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="Class to explain: top, input (set on the device by run.py --class), an index or a label; or like='a "
            "dog', whose embedding is then in the model.",
        ),
    ] = "top",
    explain_from: options.ExplainFromOption = None,
    layer: options.OwnLayerOption = None,
    preprocess: options.PreprocessOption = None,
    labels: options.LabelsOption = None,
    settings: options.SettingsOption = None,
    text_model: options.TextModelOption = None,
    tokenizer: options.TokenizerOption = None,
    opset: options.OpsetOption = None,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Pack MODEL for a device. The zip holds the model with its explanation baked in, and run.py to record it.

    On the device: unzip, then `python run.py -o run`. Back here: `onnxcam compare reference run`.
    """
    from onnxcam.cli import show
    from onnxcam.compare.pack import pack
    from onnxcam.media import image

    made = pack(
        model,
        output,
        image.files(images) if images else [],
        method,
        layer=layer,
        target=target,
        explain_from=explain_from,
        preprocess=preprocess,
        labels=labels,
        settings=options.pairs(settings),
        opset=opset,
        text_model=text_model,
        tokenizer=tokenizer,
        overwrite=overwrite,
    )
    rows = [("pictures", str(made.pictures)), ("layer", made.layer or ""), ("zip", str(made.path))]
    show.table(("pack", "value"), rows)
    show.warnings(left_out(made.unreadable))
    show.warnings(made.warnings)
    RunSummary(
        done_of(made.pictures, made.pictures + len(made.unreadable), "image"),
        output,
        next="on the device unzip, and python run.py -o run; here onnxcam record MODEL IMAGES -o host, and onnxcam "
        "compare host run",
    ).tell()
