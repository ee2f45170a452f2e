"""``--help``: commands and options grouped by purpose, and examples of each command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from onnxcam.cli import effects, old_options

__all__ = ["COMMANDS", "EXAMPLES", "PURPOSES", "Command", "Commands"]

COMMANDS = {
    "Explain": ("explain", "batch", "merge", "audit", "demo"),
    "Look into a model": ("inspect", "labels", "models"),
    "Measure and compare": ("compare-methods", "evaluate", "validate", "record", "compare"),
    "Find and repair what quantisation breaks": ("diagnose", "repair"),
    "Convert and deploy": ("export", "instrument", "bake", "pack", "web", "serve"),
}
"""The commands by purpose."""

PURPOSES = {
    "What to explain": "model target top layer candidate_layer layers wrt inputs objects part prompt tiles frames "
    "start rate resample explain_from wanted outputs expose",
    "How": "method methods settings smooth signed window overlap seed baselines metrics batch_size count threshold "
    "most precision calibrate gradients input_gradient",
    "What the model is": "preprocess reference_preprocess candidate_preprocess labels task scores boxes_output letters "
    "text_model candidate_text_model tokenizer image_token argument signature dynamic example opset weights",
    "Ground truth and requirements": "truth mask_values require verify_on",
    "What is written": "output as_json overwrite sheet opacity colormap colorbar title beside scale dpi boxes maps "
    "format quality overlays map_size uint8 overlay report annotate write part_size operators triton style logo "
    "runtime webgpu",
    "How it runs": "port browser provider candidate_provider runner runner_timeout jobs shard strict cache workers "
    "engine address cpus gpus picture_timeout retry_errors custom_ops imports timeout debug help",
}
"""The options by purpose; those of one command alone are its own."""
_OWN = "More options"
_PURPOSE = {name: purpose for purpose, names in PURPOSES.items() for name in names.split()}

EXAMPLES = {
    "explain": (
        "onnxcam explain net.onnx img.jpg -t cat",
        "onnxcam explain net.onnx photos/ --top 3 -m layercam -o maps",
    ),
    "batch": ("onnxcam batch net.onnx photos/ -o run", "onnxcam batch net.onnx photos/ -o run --shard 0/4"),
    "merge": ("onnxcam merge run-0 run-1 -o run", "onnxcam merge run-* -o run --json"),
    "audit": ("onnxcam audit run -o audit", "onnxcam audit run-2024 run-2025 -o audit"),
    "evaluate": (
        "onnxcam evaluate net.onnx photos/ -m gradcam -m layercam",
        "onnxcam evaluate net.onnx photos/ --truth annotations.json -o scores",
    ),
    "validate": (
        "onnxcam validate net.onnx net-int8.onnx photos/",
        "onnxcam validate net.onnx net-int8.onnx photos/ -r 'iou>=0.6,top1>=0.99' -o report",
    ),
    "diagnose": (
        "onnxcam diagnose net.onnx net-int8.onnx photos/",
        "onnxcam diagnose net.onnx net-int8.onnx photos/ --json",
    ),
    "repair": (
        "onnxcam repair net.onnx net-int8.onnx photos/ -o repaired.onnx",
        "onnxcam repair net.onnx net-int8.onnx photos/ -r 'top1>=0.99' -o repaired.onnx",
    ),
    "record": ("onnxcam record net.onnx photos/ -o host", "onnxcam record net.tflite photos/ -o device"),
    "compare": ("onnxcam compare host device", "onnxcam compare host device -o report"),
    "bake": ("onnxcam bake net.onnx -o baked.onnx", "onnxcam bake net.onnx -o baked.onnx -m layercam -t 281"),
    "pack": ("onnxcam pack net.onnx -o device", "onnxcam pack net.onnx -o device --opset 13"),
    "inspect": ("onnxcam inspect net.onnx", "onnxcam inspect net.onnx --layers all"),
    "models": ("onnxcam models", "onnxcam models --json"),
    "compare-methods": (
        "onnxcam compare-methods net.onnx img.jpg",
        "onnxcam compare-methods net.onnx photos/ -m gradcam -m lrp --sheet methods.pdf",
    ),
    "labels": ("onnxcam labels net.onnx", "onnxcam labels net.onnx cat"),
    "instrument": (
        "onnxcam instrument net.onnx -o out.onnx -l layer4",
        "onnxcam instrument net.onnx -o out.onnx --input-gradient",
    ),
    "export": (
        "onnxcam export net.pt2 -o net.onnx",
        "onnxcam export net.tflite -o net.onnx --labels labels.txt",
    ),
    "demo": ("onnxcam demo", "onnxcam demo -o maps"),
    "web": ("onnxcam web -o page", "onnxcam web --model baked.onnx -o page"),
    "serve": ("onnxcam serve", "onnxcam serve --model baked.onnx --port 8000"),
}
"""Two examples of each command."""


_TYPE = re.compile(r"<(?:list\[)?(\w+)(?: range)?\]?>")
"""The type of a value as typer writes it: ``<str>``, ``<list[str]>``, ``<int range>``."""
_PLAIN = {"str": "text", "int": "number", "float": "number"}


def _plain(found: re.Match[str]) -> str:
    word = found[1].lower()
    return f"<{_PLAIN.get(word, word)}>"


def _values(words: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Yield the values that *words* of a command line give the option with *names*."""
    end = words.index("--") if "--" in words else len(words)
    for word, after in zip_longest(words[:end], words[1:end]):
        name, equals, value = word.partition("=")
        if word in names and after is not None:
            yield after
        elif equals and name in names and name.startswith("--"):
            yield value


class Command(TyperCommand):
    """A command whose help groups its options by purpose and ends with examples; it takes old names of options.

    An option that takes one value is an error with two: the last one would silently win.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse *args*, also with old names; raise a usage error for an option with two values that takes one."""
        args = old_options.renamed(args, {name for each in self.params for name in each.opts})
        for param in self.get_params(ctx):
            if param.param_type_name == "option" and not (param.multiple or getattr(param, "is_flag", False)):
                values = list(dict.fromkeys(_values(args, param.opts)))
                if len(values) > 1:
                    name = max(param.opts, key=len)
                    raise typer.BadParameter(f"{name} takes one value, and is given {' and '.join(values)}; give one")
        return list(super().parse_args(ctx, args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `effects` can ask which options the user gave."""
        effects.remember(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, by purpose."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{purpose: [] for purpose in PURPOSES}, _OWN: []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                record = _TYPE.sub(_plain, record[0]), record[1]
                is_argument = param.param_type_name == "argument"
                groups["Arguments" if is_argument else _PURPOSE.get(param.name or "", _OWN)].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        lines = EXAMPLES.get(self.name or "")
        if lines is None:
            return
        with formatter.section("Examples"):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Commands(TyperGroup):
    """All commands, grouped by purpose."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, by purpose."""
        width = max(map(len, self.list_commands(ctx)))
        placed = {name for names in COMMANDS.values() for name in names}
        others = tuple(name for name in self.list_commands(ctx) if name not in placed)
        for title, names in {**COMMANDS, **({"Others": others} if others else {})}.items():
            with formatter.section(title):
                found = [(name, self.get_command(ctx, name)) for name in names]
                limit = formatter.width - 6 - width
                formatter.write_dl(
                    [(f"{name:{width}}", command.get_short_help_str(limit)) for name, command in found if command]
                )
