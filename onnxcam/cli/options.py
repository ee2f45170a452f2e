"""Arguments and options shared by several commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onnxcam.errors import MetricError

ModelArgument = Annotated[Path, typer.Argument(help="Model (.onnx).", show_default=False)]
LayerOption = Annotated[
    str, typer.Option("--layer", "-l", help="Layer to explain: auto, or the name of a tensor, node or module.")
]
PreprocessOption = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        "-p",
        help="Preprocessing: a preset (imagenet, inception, caffe, unit, raw; of signals raw, zscore, "
        "minmax, peak) or key=value,… "
        "Default: from the model's metadata, otherwise guessed with a warning.",
        show_default=False,
    ),
]
LabelsOption = Annotated[
    str | None, typer.Option("--labels", help="Text file of class names, one per line.", show_default=False)
]
BakedOption = Annotated[
    list[Path] | None,
    typer.Option("--model", help="Baked model that the page opens; repeat it for a picker.", show_default=False),
]
RuntimeOption = Annotated[
    Path | None,
    typer.Option(
        help="npm package onnxruntime-web, a folder or .tgz. Default: download it once from the npm registry.",
        show_default=False,
    ),
]
WebgpuOption = Annotated[
    bool, typer.Option("--webgpu", help="Use WebGPU where the browser has it (27 MB more).", show_default=False)
]
ProviderOption = Annotated[
    str, typer.Option("--provider", help="Execution provider of ONNX Runtime: auto, cpu, cuda, …")
]


ReplaceOption = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace the result of an earlier run in the output folder, and files of other origin."
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Also replace files that onnxcam did not write.")]
ImagesArgument = Annotated[
    list[str],
    typer.Argument(help="Images: files, folders, quoted glob patterns, or lists (.txt, @list).", show_default=False),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Only the images of shard i of n, i from 0: i/n. `onnxcam merge` joins all shards.",
        show_default=False,
    ),
]
OwnLayerOption = Annotated[
    str | None,
    typer.Option(
        "--layer",
        "-l",
        help="Layer to explain: the name of a tensor, node or module. Default: chosen automatically.",
        show_default=False,
    ),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Setting of the method, name=value; repeatable.", show_default=False),
]
OpsetOption = Annotated[
    int | None,
    typer.Option("--opset", help="Write an older opset (13 or later), for an older runtime.", show_default=False),
]
ExplainFromOption = Annotated[
    Path | None,
    typer.Option(
        "--explain-from",
        help="Explain in each image what this recording explains: its class, its objects.",
        show_default=False,
    ),
]
TruthOption = Annotated[
    Path | None,
    typer.Option(
        "--truth",
        help="Ground truth: COCO JSON, Pascal VOC, YOLO data.yaml, CSV, Labelme, CVAT, class folders, a folder of PNG "
        "masks, or a JSON file of boxes (docs/truth-formats.md). coco:PATH names the format.",
        show_default=False,
    ),
]
MaskValuesOption = Annotated[
    str,
    typer.Option(
        "--mask-values",
        help="Meaning of k in a mask: object (any k but 0), class (class k, 0 is background), class+1 (class k-1).",
    ),
]
RequireOption = Annotated[
    str | None,
    typer.Option(
        "--require",
        "-r",
        help='Requirements to pass, for example "iou>=0.6,top1>=0.99"; iou.low is the lower bound of the '
        "confidence interval, iou.worst the worst image. They replace the defaults.",
        show_default=False,
    ),
]
InputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Another input of the model, name=value: text, numbers, an .npy file or an image; repeatable.",
        show_default=False,
    ),
]
WrtOption = Annotated[
    str | None,
    typer.Option("--wrt", help="Input to explain, for a model with several images or with text.", show_default=False),
]

TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="What the model does: multi-class, multi-label, detection, segmentation, embedding, text, … "
        "(docs/card.md). Default: read from the file.",
        show_default=False,
    ),
]
ScoresOutputOption = Annotated[
    str | None,
    typer.Option("--scores-output", "--scores", help="Output with the class scores.", show_default=False),
]
BoxesOutputOption = Annotated[
    str | None,
    typer.Option(
        "--boxes-output",
        help="Output with the boxes of a detector, and their convention: OUTPUT or OUTPUT:xyxy (docs/targets.md).",
        show_default=False,
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(help="Of a network of signals: the samples in a second that it takes.", show_default=False),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        help="Where the part of a longer signal begins: a sample, or seconds such as 2.5s.", show_default=False
    ),
]
ResampleOption = Annotated[bool, typer.Option("--resample", help="Change signals of another rate to the network's.")]
WindowOption = Annotated[
    str | None,
    typer.Option(
        "--window",
        help="Explain window by window, of this size on each axis, such as 64,64,64: for inputs larger than the "
        "network takes (docs/volumes.md). Default: the whole input at once.",
        show_default=False,
    ),
]


def _refuse_windows(value: str | None) -> None:
    if value is not None:
        raise MetricError(
            "--window is for `onnxcam explain`: here the network takes whole inputs; crop or resample them to the size "
            "it takes, or export it for a larger one"
        )


NoWindowOption = Annotated[str | None, typer.Option("--window", hidden=True, callback=_refuse_windows)]
OverlapOption = Annotated[
    float | None,
    typer.Option("--overlap", help="Share of a window that the next one covers too. Default: 0.5.", show_default=False),
]
LettersOption = Annotated[
    str | None,
    typer.Option("--letters", help="Letters of a text recogniser, in order, or a file of them.", show_default=False),
]

FramesOption = Annotated[
    str | None,
    typer.Option(
        "--frames",
        help="Frames of a video, each an image: so many, such as 16, or stride=5, or fps=2. Default: 32.",
        show_default=False,
    ),
]
TextModelOption = Annotated[
    Path | None,
    typer.Option(
        "--text-model",
        help='Text tower (.onnx) that belongs to an image tower, for targets such as like="a dog" (docs/words.md). '
        "Default: the model itself, if it holds both.",
        show_default=False,
    ),
]
TokenizerOption = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="Tokenizer of the text tower or decoder: tokenizer.json, or vocab.json beside merges.txt. Default: found "
        "beside it.",
        show_default=False,
    ),
]


def once(targets: Sequence[str] | None) -> list[str]:
    """Return each of *targets* once; print a warning for one that is given several times."""
    from onnxcam.cli import show

    counts = Counter(targets or ())
    show.warnings(
        f"--target {one!r} is given {count} times; it is explained once" for one, count in counts.items() if count > 1
    )
    return list(counts)


def pairs(words: Sequence[str] | None, option: str = "--set", example: str = "samples=50") -> dict[str, str]:
    """Return ``name=value`` *words* as a dict; raise a usage error for any other word, and for two values of a name."""
    found: dict[str, str] = {}
    for word in words or []:
        if "=" not in word.strip("="):
            raise typer.BadParameter(f"{option} takes name=value, such as {option} {example}, not {word!r}")
        name, value = word.split("=", 1)
        if found.setdefault(name, value) != value:
            raise typer.BadParameter(f"{option} gives {name!r} two values, {found[name]!r} and {value!r}; give one")
    return found


def lengths(words: str | None) -> tuple[int, ...] | None:
    """Return the lengths in *words*, such as ``64,64,64``; raise a usage error for other words."""
    if words is None:
        return None
    parts = words.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise typer.BadParameter(f"--window takes a length for each axis, such as --window 64,64,64, not {words!r}")
    return tuple(map(int, parts))


def float_model(text: str) -> Path | None:
    """Return the path of the float model; None for ``-``: there is none."""
    return None if text == "-" else Path(text)
