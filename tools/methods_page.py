"""Write docs/choose-a-method.md: `python -m tools.methods_page`, from the registry and the figures of other pages.

How many runs of the network a method takes, and the default of each task, are measured with `--measure` (minutes),
and kept in docs/methods.json: for the small network of `onnxcam demo`, one image, default settings.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxcam.methods import METHODS
from onnxcam.methods.base import Method
from tools.method_runs import default, runs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGE, MEASURED = DOCS / "choose-a-method.md", DOCS / "methods.json"
BEST = 3
"""How many methods of each kind are named for a task."""
TASKS = {
    "a class, CNN that ends in pooling": "classifier",
    "a class, CNN with dense layers": "classifier_fc",
    "a class, vision transformer": "classifier_vit",
    "a class, transformer with registers": "classifier_registers",
    "a detection": "detector",
    "a segment": "segmenter",
    "a segment of a volume": "volumes",
    "an embedding's likeness": "embedder",
    "a text (CLIP)": "clip_image",
    "a keypoint, heat maps": "keypoints",
    "a keypoint, regressed": "landmarks",
    "read text": "reader",
    "a word of a caption": "captioner",
    "an answer to a question": "answerer",
    "a patch, upscaled": "upscaler",
    "a patch, brightened": "brightener",
    "a patch, compressed": "compressor",
    "a patch, rendered": "renderer",
    "an event in a signal": "signals",
    "a spoken word": "keywords",
}
"""The networks of docs/truth.md by what is explained."""
REFUSES = "none: it rounds, so the gradient is zero"
SHOWN = {"classifier": "CNN", "classifier_vit": "transformer", "detector": "detector", "segmenter": "segmenter"}
"""The networks with columns of their own in the table of all methods."""
NEEDS = {
    "cam": "a network that ends in global average pooling and a linear layer",
    "grad-eclip": "a transformer whose tokens all attend to each other, as in CLIP's image towers",
    "deeplift": "a reference image (zero)",
    "guided-gradcam": "rectifiers",
    "guided-gradcam++": "rectifiers",
    "guided-backprop": "rectifiers",
    "deconvnet": "rectifiers",
}
"""What the registry does not say."""
BAKED = "any runtime: `onnxcam bake` writes it into the file"
WITHOUT_GRADIENT = ("scorecam", "sscam", "iscam")
"""Methods without a gradient, of which the registry does not say so: they mask the image with activations."""


def peers(text: str) -> dict[str, dict[str, float]]:
    """Return the packages that docs/agreement.md compares each method with, and the least correlation."""
    found = defaultdict[str, dict[str, float]](dict)
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        package = section.split("\n", 1)[0]
        package = "the paper's equations" if package.startswith("Equations") else package.rpartition(" ")[0]
        for method, value in re.findall(r"^\| `([\w+-]+)` \|.*\| (-?\d\.\d{6}) \|$", section, re.MULTILINE):
            found[method][package] = min(float(value), found[method].get(package, 1.0))
    return found


def page(truth: dict[str, Any], agreement: str, speed: str, measured: dict[str, Any]) -> str:
    """Return the page."""
    agreed = peers(agreement)
    cells = {tuple(key.split(" ", 1)): row for key, row in truth.items() if not row["refused"] and row["samples"]}
    text = HEAD + "\n".join(_task(what, name, cells, measured) for what, name in TASKS.items())
    text += COSTS + _costs(measured, speed)
    text += ALL.format(columns=" | ".join(SHOWN.values()), rule="---:|" * len(SHOWN))
    return text + "\n".join(_method(each, cells, agreed, measured) for each in METHODS.values()) + "\n" + FOOT


def _task(what: str, network: str, cells: dict[Any, Any], measured: dict[str, Any]) -> str:
    def best(many: bool) -> str:
        able = [id for id, each in METHODS.items() if (network, id) in cells and each.in_graph is not many]
        able = [id for id in able if not METHODS[id].class_independent]
        order = sorted(able, key=lambda id: (-_mean(cells[network, id]), id))
        return ", ".join(f"`{id}` {_percent(cells[network, id])}" for id in order[:BEST]) or "–"

    own = measured["defaults"][network]
    figure = f"`{own}` {_percent(cells[network, own])}" if (network, own) in cells else f"`{own}`" if own else REFUSES
    return f"| {what} | {figure} | {best(many=False)} | {best(many=True)} |"


def _mean(row: dict[str, Any]) -> float:
    return float(row["pointing"] + row["energy"]) / 2


def _percent(row: dict[str, Any]) -> str:
    return f"{100 * row['pointing']:.0f}/{100 * row['energy']:.0f}"


def _costs(measured: dict[str, Any], speed: str) -> str:
    groups = defaultdict[str, list[str]](list)
    for id, each in METHODS.items():
        kind = "many" if not each.in_graph else "one layer" if unit(each) == "layer" else "more"
        groups[kind].append(id)
    runs = {id: f" ({count})" for id, count in measured["runs"].items() if count}
    times = re.findall(r"^\| ([\w+-]+) / plain inference \| ([^|]+) \|[^|]*\| ([\d.]+) ×", speed, re.MULTILINE)
    rows = [
        ("one pass, the gradient of one layer", "about one inference", BAKED, "one layer"),
        ("one pass, through several layers or all", "several inferences", BAKED, "more"),
        ("many passes", "the number of inferences behind it", "where Python and ONNX Runtime run", "many"),
    ]
    table = "| kind | cost | where | methods |\n|---|---|---|---|\n"
    for kind, cost, where, group in rows:
        names = ", ".join(f"`{id}`{runs.get(id, '')}" for id in groups[group])
        table += f"| {kind} | {cost}{_measured(times, groups[group])} | {where} | {names} |\n"
    return table


def _measured(times: Sequence[tuple[str, str, str]], methods: Sequence[str]) -> str:
    """Return the least and largest time over the inference's of *methods*, for each network."""
    found = defaultdict[str, list[float]](list)
    for method, network, value in times:
        if method in methods:
            found[network].append(float(value))
    return "".join(
        f"; {network} {f'{min(all):.2f} to {max(all):.2f}' if len(all) > 1 else f'{all[0]:.2f}'}"
        for network, all in found.items()
    )


def _method(each: Method, cells: dict[Any, Any], agreed: dict[str, Any], measured: dict[str, Any]) -> str:
    figures = [_percent(cells[name, each.id]) if (name, each.id) in cells else "–" for name in SHOWN]
    shown = ", ".join(f"{value:.4f} {package}" for package, value in agreed.get(each.id, {}).items()) or "–"
    passes = "1" if each.in_graph else str(measured["runs"].get(each.id) or "many")
    return f"| `{each.id}` | {unit(each)} | {passes} | {needs(each)} | {' | '.join(figures)} | {shown} |"


def gradient_free(each: Method) -> bool:
    """Return whether a method needs no gradient."""
    return each.black_box or each.uses_head or each.class_independent or each.id in WITHOUT_GRADIENT


def unit(each: Method) -> str:
    """Return what has a value of its own in a method's map."""
    if each.of_pixels:
        return "pixels"
    if each.needs_attention or each.needs_words:
        return "tokens"
    if each.uses_layer:
        return "layers" if "stages" in each.settings else "layer"
    return "layers" if each.in_graph else "regions"


def needs(each: Method) -> str:
    """Return what a method assumes of the network, and what it needs, in words."""
    said = [NEEDS[each.id]] if each.id in NEEDS else ["a transformer"] if each.needs_attention else []
    said += ["a detector"] * each.needs_detections + ["a vision-language decoder"] * each.needs_words
    said += ["the part behind the layer"] * each.uses_head
    said.append("scores only" if each.black_box else "no gradient" if gradient_free(each) else "")
    if "baseline" in each.settings:
        said.append("a baseline (zero)" if each.id not in NEEDS else "")
    if "seed" in each.settings:
        said.append("random samples")
    if each.class_independent:
        said.append("**independent of the class**")
    if each.extra:
        said.append(f"extra `{each.extra}`")
    return "; ".join(filter(None, said)) or "a gradient"


HEAD = """# Choose a method

Written by `python -m tools.methods_page` from the figures of [Are the maps right?](truth.md) and [Agreement with
other packages](agreement.md). Without `--method` the default of the task is taken, and this page is not needed. With
it:

- A map for one class of a CNN or a transformer, quickly: the default. Compare with a second method that works in
  another way, such as `attnlrp` or `occlusion`: what both show is the network's, what one shows may be the method's
  (`onnxcam compare-methods model.onnx photos`, [sheets](sheets.md)).
- Fine detail, pixel by pixel: `attnlrp`, `integrated-gradients`, `smoothgrad`.
- A network whose gradient is not to be had (an operator without a rule, another engine): methods that need scores
  only.
- A map on a phone, in a browser, in C++: any method of one pass ([bake](bake.md)).
- *Independent of the class* means that the map shows what the layer sees, not why this class: it explains no
  decision.

## By task

Each figure is *pointing/energy* in per cent: how often the peak of the map lies on what the target is about, and
the share of the map that lies there, on networks trained on worlds whose truth is known. These are small networks of
one world: measure your own with [`onnxcam evaluate`](evaluate.md). The best are those with the highest mean of the
two that depend on the target; those of many passes were measured on 16 pictures only, where a
difference of ten per cent may be chance.

| explained | default | best of one pass | best of many passes |
|---|---|---|---|
"""
COSTS = """

## By cost and device

The number is that of inferences for one map at default settings (the demo's network; of the methods of channels or
cells it depends on the layer). Figures behind a network are times over that of the inference, of the methods of the
row that were measured
([benchmarks](../benchmarks/README.md)).

"""
ALL = """
## Every method

*Map*: what has a value of its own, the cells of a layer or of several, tokens, pixels, or regions that were covered.
*Runs*: inferences for one map, as above. Figures under the networks (`classifier`, `classifier_vit`, `detector`,
`segmenter`) are *pointing/energy* as above. *Agreement*:
the least correlation with the map of another package at default settings. Where it is below 1,
[Agreement](agreement.md) says what the package does otherwise; methods without a figure are compared there at other
settings, or with a replica of their paper in the tests only.

| method | map | runs | needs, assumes | {columns} | agreement |
|---|---|---:|---|{rule}---|
"""
FOOT = """
A method's formula and paper are in [Methods](methods.md), its settings in its docstring.
"""


def current() -> str:
    """Return the page of the figures that are there."""
    truth, measured = (json.loads(path.read_text("utf-8")) for path in (DOCS / "truth.json", MEASURED))
    agreement, speed = (ROOT / name for name in ("docs/agreement.md", "benchmarks/README.md"))
    return page(truth, agreement.read_text("utf-8"), speed.read_text("utf-8"), measured)


def main() -> None:
    """Measure if asked to, and write the page."""
    if "--measure" in sys.argv:
        measured = {
            "runs": {id: runs(id) for id, each in METHODS.items() if not each.in_graph},
            "defaults": {name: default(name) for name in TASKS.values()},
        }
        MEASURED.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    PAGE.write_text(current(), "utf-8")


if __name__ == "__main__":
    main()
