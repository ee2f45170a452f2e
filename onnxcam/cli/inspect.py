"""``onnxcam inspect``: describe a model, its layers and the methods that apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from onnxcam.cli import options, parts

if TYPE_CHECKING:
    from onnxcam.bake.providers import ProviderSupport
    from onnxcam.inspection import LayerRow

SHOWN = 3  # maximum node names per row


def command(
    model: options.ModelArgument,
    wanted: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="List only the nodes that execution providers do not support: cpu,cuda,nnapi,… or all.",
            show_default=False,
        ),
    ] = None,
    operators: Annotated[
        Path | None,
        typer.Option(
            help="Write only the operator list for a custom build of ONNX Runtime to this file.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        str,
        typer.Option(
            help="Layers to list: auto (the automatic choice and the runners-up), or all (only these: every layer that "
            "--layer may name, stage by stage)."
        ),
    ] = "auto",
    labels: options.LabelsOption = None,
    task: options.TaskOption = None,
    scores: options.ScoresOutputOption = None,
    boxes_output: options.BoxesOutputOption = None,
    letters: options.LettersOption = None,
    preprocess: options.PreprocessOption = None,
    tokenizer: options.TokenizerOption = None,
    prompt: parts.PromptOption = None,
    image_token: parts.ImageTokenOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    overwrite: options.OverwriteOption = False,
) -> None:
    """Describe MODEL. Shows inputs, outputs, layers and the methods that apply, or unsupported operators (--for).

    MODEL may be a folder of the parts of a vision-language decoder.
    """
    from onnxcam.cli import show

    if operators is not None:
        from onnxcam.bake.ort_build import write_operators

        needed = write_operators(model, operators, overwrite=overwrite)
        show.table(
            ("domain", "opset", "operators"),
            [(domain, str(version), ", ".join(names)) for (domain, version), names in needed.items()],
        )
        return
    if wanted is not None:
        from onnxcam.bake import providers as support

        lists = support.inspect(model, support.named(wanted))
        if as_json:
            show.json([each.as_dict() for each in lists])
            return
        for each in lists:
            _print_support(each)
        return
    if layers not in ("auto", "all"):
        raise typer.BadParameter(f"--layers is auto or all, not {layers!r}")
    from onnxcam.hub import name_of
    from onnxcam.inspection import SaidOfModel, every_layer, survey
    from onnxcam.methods.base import INDEPENDENT

    if tokenizer is not None and not model.is_dir():
        raise typer.BadParameter(
            "--tokenizer is for a folder of the parts of a decoder, and MODEL is none; leave it out"
        )
    said: SaidOfModel = {
        "labels": labels,
        "task": task,
        "scores_output": scores,
        "boxes_output": boxes_output,
        "letters": letters,
        "preprocess": preprocess,
    }
    if layers == "all":
        rows = every_layer(model, **said)
        if as_json:
            show.json([asdict(row) for row in rows])
        else:
            show.table(("# stage", "grid", "# channels", "layer", "tensor", "operator", ""), map(_layer, rows))
        return
    asked = parts.Asked(prompt=prompt, tokenizer=tokenizer, image_token=image_token, preprocess=preprocess)
    found = survey(parts.joined(model, **asked), **said)
    if as_json:
        show.json(asdict(found))
        return
    say = show.print_out
    say(f"{name_of(model)}: opset {found.opset}, {found.nodes} nodes, made by {found.producer or 'unknown'}")
    if found.baked:
        say(f"baked by onnxcam: {found.baked}; the rest describes the model inside")
    show.table(
        ("", "name", "type", "shape"),
        [(kind, *row) for kind, rows in (("input", found.inputs), ("output", found.outputs)) for row in rows],
    )
    say(f"\noperators: {', '.join(f'{name} {count}' for name, count in found.operators.items())}")
    if found.scores:
        say(f"explained: {found.scores}")
    for targets in found.targets:
        say(f"targets, as {targets}")
    if any("any:" in targets for targets in found.targets):
        say("A-B is the score of class A minus that of B; any:A-B is the range of the classes A to B")
    if all(part.name != "preprocessing" for part in found.reading):
        say(f"preprocessing: {found.preprocess}")
    for part in found.reading:
        say(str(part), style="yellow" if part.guessed else None)
    for warning in found.warnings:
        say(f"warning: {warning}", style="yellow")
    if found.layers:
        say(f"\nlayers, the automatic choice first ({found.reason}):")
        show.table(("layer", "tensor", "size"), found.layers)
    say("\nmethods:")
    beside = {**found.caveats, **dict.fromkeys(found.class_independent, INDEPENDENT)}
    listed = [(name, "no" if why else "yes", why or beside.get(name, "")) for name, why in _told_once(found.methods)]
    show.table(("method", "applies", "why not, or what to know"), listed)


def _told_once(methods: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each method and why it does not apply; where an earlier one has the same long reason, that one's name."""
    first: dict[str, str] = {}
    for name, why in methods.items():
        known = first.setdefault(why.removeprefix(f"{name} "), name)
        yield name, why if known == name or len(why) <= _SHORT else f"as {known}"


_SHORT = 60
"""A reason of at most this many characters is written at each method that has it."""


def _layer(row: LayerRow) -> tuple[str, ...]:
    names = ", ".join(row.names)
    return str(row.stage), row.grid, row.channels, names, row.tensor, row.operator, "auto" if row.auto else ""


def _print_support(found: ProviderSupport) -> None:
    """Print the nodes that one provider does not support."""
    from onnxcam.cli import show

    say, known = show.print_out, found.provider
    lacking = sum(len(lack.nodes) for lack in found.lacks)
    listed = f"{lacking} of {found.nodes} nodes are not in its list" if lacking else f"has all {found.nodes} nodes"
    say(f"{known.title} ({known.version}, {known.date}): {listed}")
    if found.lacks:
        show.table(
            ("operator", "opset", "type", "# nodes", "why", "such as"),
            [
                (lack.operator, str(lack.opset), lack.dtype, str(len(lack.nodes)), lack.why, _some(lack.nodes))
                for lack in found.lacks
            ],
        )
        if not known.fallback:
            say("these nodes run on the CPU; each group of them splits the graph once more")
    for operator, note in found.limits.items():
        say(f"limit: {operator}: {note}")
    for warning in [known.note, *found.warnings]:
        if warning:
            say(f"note: {warning}")
    if found.methods:
        say(
            f"methods that need no further operators: {', '.join(found.methods)}"
            " (batch size 1, --map-size layer, a fixed --target)"
        )
    elif not any("methods" in warning for warning in found.warnings):
        say("every method needs further operators")
    say(f"source: {known.source}\n")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
