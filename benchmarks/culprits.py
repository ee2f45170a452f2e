"""How well the first-order effects find what spoils a quantised network: ``python benchmarks/culprits.py``.

Three tables for docs/culprits.md:

- *Ranking*: the effects of `onnxcam diagnose` against runs with one tensor quantised at a time, beside the
  signal-to-noise ratio that other tools print.
- *Spoilings*: one tensor of a sound int8 file is spoilt at random; is it among the first three?
- *Repairs*: such files that fail `onnxcam validate`; does `onnxcam repair` mend them?

Networks of models/ are quantised by ONNX Runtime. With ``--real DIR``, a folder of real models and photos, those too.
Images of the measurement are other ones than those of the calibration.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy.stats import spearmanr

from models import letters, world
from onnxcam.diagnosis.diagnose import Subject, diagnose
from onnxcam.diagnosis.repair import repair
from onnxcam.diagnosis.repair_result import Repair
from onnxcam.errors import OnnxcamError
from onnxcam.media import image
from onnxcam.model.description import ModelDescription

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "culprits.md"
CALIBRATION, MEASUREMENT = 3, 7  # first word of an image's seed
IMAGES = 6
SPOILINGS = 100
HARM = 1.5
"""A spoiling counts if it raises the change of the outputs by this factor: others do no harm that could be found."""
FIRST = 3
NODES = 5

Array = NDArray[Any]


@dataclass(frozen=True)
class Network:
    """A float network, its kind, and where its images come from: a function of the seed, or files."""

    name: str
    kind: str
    model: Path
    images: Callable[[int, int], Array] | Sequence[Path]
    preprocess: str | None = None
    per_channel: bool = True


def scene(seed: int, number: int) -> Array:
    """Draw shapes."""
    return world.sample(np.random.default_rng([seed, number])).image


def line(seed: int, number: int) -> Array:
    """Draw a word."""
    return letters.sample(np.random.default_rng([seed, number])).image


def networks(real: Path | None) -> list[Network]:
    """Return the networks."""
    here, assets = ROOT / "models", ROOT / "onnxcam" / "assets"
    found = [
        Network("shapes", "convolutions", assets / "shapes.onnx", scene),
        Network("classifier_vit", "ViT", here / "classifier_vit.onnx", scene),
        Network("detector", "detector", here / "detector.onnx", scene),
        Network("segmenter", "segmenter", here / "segmenter.onnx", scene),
        Network("reader", "text recogniser", here / "reader.onnx", line),
        Network("embedder", "embedding", here / "embedder.onnx", scene),
        Network("upscaler", "image to image", here / "upscaler.onnx", scene),
    ]
    if real is None:
        return found
    photos = sorted((real / "images").iterdir())
    vww, squeeze = "resize=96,crop=96x96,range=0-1", "resize=256,crop=227x227,range=0-255,mean=104/117/123,order=bgr"
    return [
        *found,
        Network("vww", "depthwise", real / "models/vww_mobilenet_96_f32.onnx", photos, vww),
        Network("resnet8", "residual", real / "models/resnet8_cifar10_f32.onnx", photos, "raw"),
        Network("mobilenet_v1", "depthwise", real / "models/mobilenet_v1_025_224_f32.onnx", photos),
        Network("squeezenet", "convolutions", real / "models/squeezenet10_dc_f32.onnx", photos, squeeze),
        Network("ultraface", "detector", real / "models/ultraface_rfb320.onnx", photos),
    ]


def pictures(network: Network, folder: Path, seed: int, count: int) -> list[Path]:
    """Return image files: drawn, or the photos with even or odd numbers."""
    if not callable(network.images):
        return list(network.images)[seed == MEASUREMENT :: 2][:count]
    made = []
    for number in range(count):
        path = folder / f"{network.name}-{seed}-{number}.png"
        image.write(path, network.images(seed, number))
        made.append(path)
    return made


def quantised(network: Network, folder: Path, images: Sequence[Path]) -> Path:
    """Write the network as int8, calibrated on *images*."""
    from onnxruntime import quantization as q

    path = folder / f"{network.name}.onnx"
    q.quantize_static(
        str(network.model),
        str(path),
        _Calibration(network, images),
        quant_format=q.QuantFormat.QDQ,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        per_channel=network.per_channel,
    )
    return path


class _Calibration:
    """Prepared images, as `onnxruntime.quantization` reads them."""

    def __init__(self, network: Network, images: Sequence[Path]) -> None:
        described = ModelDescription(network.model, "cpu", network.preprocess, None)
        feeds = [dict(described.look(described.preprocessing(image.read(one)), None, {}).feeds) for one in images]
        self._feeds: Iterator[dict[str, Any]] = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def ranking(network: Network, folder: Path) -> list[str]:
    """Return the rows of one network: by objective and kind of tensor."""
    path = quantised(network, folder, pictures(network, folder, CALIBRATION, IMAGES))
    images = pictures(network, folder, MEASUREMENT, IMAGES)
    subject = Subject.open(network.model, path, images, preprocess=network.preprocess)
    found: dict[str, list[tuple[Array, Array]]] = {}
    seconds = [0.0, 0.0]
    for prepared in subject.images:
        explained, feeds = subject.explained(prepared)
        subject.probe(explained, feeds)  # sessions are made
        start = time.process_time()
        effects = [one.effects for one in subject.probe(explained, feeds)]
        middle = time.process_time()
        truths = subject.probe.measured(explained, feeds)
        seconds = [seconds[0] + middle - start, seconds[1] + time.process_time() - middle]
        for mine, truth in zip(effects, truths, strict=True):
            for name, values in truth.items():
                found.setdefault(name, []).append((mine[name], values))
    noise = -np.array([one.sqnr for one in subject.probe.statistics])
    kinds = np.array([one.kind for one in subject.mixture.quantisers])
    rows = []
    for name, pairs in found.items():
        mine, truth = (np.abs([pair[i] for pair in pairs]).mean(0) for i in (0, 1))
        cells = [_cell(mine, truth, noise, kinds == "activation"), _cell(mine, truth, noise, kinds == "weight")]
        rows.append(
            f"| {network.name} | {network.kind} | {name} | {' | '.join(cells)} | {seconds[1] / seconds[0]:.0f} × |"
        )
    return rows


def _cell(mine: Array, truth: Array, noise: Array, which: Array) -> str:
    """Return number, correlation of ranks, hits among the five worst, and both for the noise ratio."""
    a, b, c = mine[which], truth[which], noise[which]
    if len(a) < 3:
        return f"{len(a)} | | | "
    worst = set(np.argsort(-b)[:5])
    hits = [len(worst & set(np.argsort(-one)[:5])) for one in (a, c)]
    return f"{len(a)} | {_ranks(a, b)}, {hits[0]} | {_ranks(c, b)}, {hits[1]}"


def _ranks(a: Array, b: Array) -> str:
    """Return the correlation of ranks; a dash if all of *a* or *b* are equal."""
    return f"{spearmanr(a, b)[0]:.2f}" if np.ptp(a) and np.ptp(b) else "–"


@dataclass(frozen=True)
class Spoiling:
    """One spoilt tensor: how, and its name in the file."""

    kind: str
    tensor: str


KINDS = ("scale / 12", "range clipped", "zero point", "scale × 20", "per tensor")


def spoil(path: Path, made: Path, rng: np.random.Generator, kinds: Sequence[str] = KINDS) -> Spoiling:
    """Write *path* with one tensor spoilt at random, in one of *kinds*; ValueError if it has no tensor for them."""
    model = onnx.load(path)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    activations = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    grouped = _grouped(model, constants)
    possible = [kind for kind in kinds if grouped or kind != "per tensor"]
    if not possible:
        raise ValueError("no depthwise convolution with a scale for each channel")
    kind = str(rng.choice(possible))
    if kind == "per tensor":
        node = grouped[rng.integers(len(grouped))]
        _spoil_weights(model, node, constants)
        onnx.save(model, made)
        return Spoiling(kind, node.input[0])
    node = activations[rng.integers(len(activations))]
    scale, zero = constants[node.input[1]].astype(np.float32), constants[node.input[2]]
    factor = {"scale / 12": 1 / 12, "range clipped": 1 / rng.uniform(3, 5), "scale × 20": 20.0}.get(kind, 1.0)
    limits = np.iinfo(zero.dtype)
    moved = int(rng.integers(60, 120)) * (1 if int(zero) < (limits.min + limits.max) / 2 else -1)
    shift = moved if kind == "zero point" else 0
    units = {
        "spoilt.scale": scale * np.float32(factor),
        "spoilt.zero": np.clip(int(zero) + shift, limits.min, limits.max).astype(zero.dtype),
    }
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(x), name) for name, x in units.items())
    for each in model.graph.node:
        if each is node or (each.op_type == "DequantizeLinear" and each.input[0] == node.output[0]):
            each.input[1:] = list(units)
    onnx.save(model, made)
    return Spoiling(kind, node.output[0])


def _grouped(model: onnx.ModelProto, constants: dict[str, Array]) -> list[onnx.NodeProto]:
    """Return the DequantizeLinear nodes of the weights of depthwise convolutions, with a scale for each channel."""
    readers = {node.input[1] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 1}
    return [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and node.output[0] in readers
        and constants[node.input[0]].shape[1] == 1
        and constants[node.input[1]].size > 1
    ]


def _spoil_weights(model: onnx.ModelProto, node: onnx.NodeProto, constants: dict[str, Array]) -> None:
    """Quantise weights of int8 with the largest scale of their channels, as with one scale for all."""
    q, scale = constants[node.input[0]].astype(np.float64), constants[node.input[1]].astype(np.float64)
    along = scale.reshape([-1, *[1] * (q.ndim - 1)])
    largest = float(scale.max()) * 2  # and of an outlier
    rounded = np.clip(np.rint(q * along / largest), -127, 127).astype(np.int8)
    for tensor in model.graph.initializer:
        if tensor.name == node.input[0]:
            tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    units = {"spoilt.scale": np.full(scale.shape, largest, np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(x, name) for name, x in units.items())
    node.input[1] = "spoilt.scale"


def spoilings(
    found: Sequence[Network], folder: Path, count: int, kinds: Sequence[str] = KINDS, seed: int = 0
) -> list[str]:
    """Return the rows of the second table: by kind, how often the spoilt tensor is among the first three."""
    rng = np.random.default_rng(seed)
    ready = []
    for network in found:
        path = quantised(network, folder, pictures(network, folder, CALIBRATION, IMAGES))
        images = pictures(network, folder, MEASUREMENT, 4)
        sound = diagnose(network.model, path, images, preprocess=network.preprocess)
        ready.append((network, path, images, sound.change["outputs"]))
    ranks: dict[str, list[int]] = {}
    harmless = 0
    while sum(map(len, ranks.values())) < count:
        network, path, images, change = ready[rng.integers(len(ready))]
        made = folder / "spoilt.onnx"
        spoiling = spoil(path, made, rng, kinds)
        diagnosis = diagnose(network.model, made, images, preprocess=network.preprocess)
        if diagnosis.change["outputs"] < HARM * change:
            harmless += 1
            continue
        order = [one.tensor for one in diagnosis.tensors]
        rank = order.index(spoiling.tensor) + 1 if spoiling.tensor in order else len(order)
        ranks.setdefault(spoiling.kind, []).append(rank)
        cause = diagnosis.tensors[rank - 1].cause
        print(network.name, spoiling, rank, "" if cause is None else cause.id, flush=True)
    rows = [
        f"| {kind} | {len(each)} | {sum(rank == 1 for rank in each)} | {sum(rank <= FIRST for rank in each)} |"
        for kind, each in sorted(ranks.items())
    ]
    every = [rank for each in ranks.values() for rank in each]
    total = f"| all | {len(every)} | {sum(rank == 1 for rank in every)} | {sum(rank <= FIRST for rank in every)} |"
    return [
        *rows,
        total,
        f"\n{harmless} further spoilings changed the outputs by less than {HARM} times and do not count.",
    ]


def repairs(
    found: Sequence[Network], folder: Path, count: int, kinds: Sequence[str] = KINDS, seed: int = 1
) -> list[str]:
    """Return the rows of the third table: by kind, how many spoilt files that fail are repaired, and how."""
    rng = np.random.default_rng(seed)
    ready = []
    for network in found:
        path = quantised(network, folder, pictures(network, folder, CALIBRATION, IMAGES))
        ready.append((network, path, pictures(network, folder, MEASUREMENT, 8)))
    rows: dict[str, list[Repair | None]] = {}
    harmless = 0
    while sum(map(len, rows.values())) < count:
        network, path, images = ready[rng.integers(len(ready))]
        made = folder / "spoilt.onnx"
        spoiling = spoil(path, made, rng, kinds)
        done: Repair | None = None
        try:
            done = repair(network.model, made, images, preprocess=network.preprocess)
        except OnnxcamError as error:
            print(network.name, spoiling, error, flush=True)
        if done is not None and done.already:
            harmless += 1
            continue
        rows.setdefault(spoiling.kind, []).append(done)
        if done is not None:
            print(network.name, spoiling, done.passed, len(done.rewrites), len(done.nodes), flush=True)
    every = [one for each in rows.values() for one in each]
    told = f"{harmless} further spoilt files met the requirements as they were: they do not count."
    return [*(_repaired(kind, each) for kind, each in sorted(rows.items())), _repaired("all", every), "", told]


def _repaired(kind: str, found: Sequence[Repair | None]) -> str:
    """Return the row of one kind of spoiling."""
    passed = [one for one in found if one is not None and one.passed]
    without = sum(not one.nodes for one in passed)
    few = sum(len(one.nodes) <= NODES for one in passed)
    return f"| {kind} | {len(found)} | {len(passed)} | {without} | {few} |"


_RANKING = """\
| network | kind | effect on | activations | effect: ranks, hits | SQNR | weights | effect: ranks, hits | SQNR | saves |
|---|---|---|---:|---|---|---:|---|---|---:|"""
_SPOILINGS = """\
| spoilt | times | first | among the first three |
|---|---:|---:|---:|"""
_REPAIRS = f"""\
| spoilt | fail | repaired | without a node in float | with at most {NODES} |
|---|---:|---:|---:|---:|"""


def main() -> None:
    """Measure, and write the tables of docs/culprits.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, help="a folder with models/ and images/ of real networks")
    parser.add_argument("--only", choices=("ranking", "spoilings", "repairs"))
    parser.add_argument("--networks", nargs="*", default=[], help="names; default: all")
    parser.add_argument("--count", type=int, default=SPOILINGS, help="number of spoilings")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS, help="kinds of spoilings; default: all")
    given = parser.parse_args()
    found = [one for one in networks(given.real) if not given.networks or one.name in given.networks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.only in (None, "ranking"):
            write("ranking", [_RANKING, *(row for one in found for row in tried(one, folder))])
        if given.only in (None, "spoilings"):
            write("spoilings", [_SPOILINGS, *spoilings(found, folder, given.count, given.kinds)])
        if given.only in (None, "repairs"):
            write("repairs", [_REPAIRS, *repairs(found, folder, given.count, given.kinds)])


def tried(network: Network, folder: Path) -> list[str]:
    """Return the rows of `ranking`; one with the reason if it fails."""
    try:
        rows = ranking(network, folder)
    except OnnxcamError as error:
        rows = [f"| {network.name} | {network.kind} | {error} | | | | | | | |"]
    print("\n".join(rows), flush=True)
    return rows


def write(section: str, rows: Sequence[str]) -> None:
    """Write *rows* between the markers of *section* in the page."""
    start, end = f"<!-- {section}: begin -->\n", f"\n<!-- {section}: end -->"
    text = PAGE.read_text("utf-8")
    before, rest = text.split(start)
    PAGE.write_text(before + start + "\n".join(rows) + end + rest.split(end)[1], "utf-8")


if __name__ == "__main__":
    main()
