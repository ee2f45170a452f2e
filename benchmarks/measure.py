"""The measurements. Each is a function that yields rows; a row with a goal passes it or falls short."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clock
import contenders
import detectors
import folders
import networks
import numpy as np
import onnx
from built import explanation_graph
from contenders import Network, installed
from table import Row

from onnxcam.autodiff import vjp
from onnxcam.media import image
from onnxcam.methods import METHODS, activation, principal


@dataclass(frozen=True)
class Setting:
    """How much to measure, and on what."""

    quick: bool
    folder: Path  # where .onnx files are kept
    networks: Mapping[str, Network]

    @property
    def rounds(self) -> int:
        """Return how many turns each contender gets."""
        return 3 if self.quick else 15

    @property
    def times(self) -> int:
        """Return how many child processes are started."""
        return 3 if self.quick else 9


Measurement = Callable[[Setting], Iterator[Row]]
MEASUREMENTS: dict[str, Measurement] = {}


def measurement(function: Measurement) -> Measurement:
    """Enter the function below under its name."""
    MEASUREMENTS[function.__name__] = function
    return function


GRADCAM_GOALS = {"ResNet-50": 1.05, "MobileNetV3-Large": 1.10}
GRADIENT_GOALS = {"ResNet-50": 2.2, "MobileNetV3-Large": 3.0}


@measurement
def gradcam(setting: Setting) -> Iterator[Row]:
    """Grad-CAM at the last layer, one class, one picture."""
    for network in setting.networks.values():
        goal = GRADCAM_GOALS[network.name]
        runs = {
            "plain": contenders.plain(network),
            "graph": contenders.onnxcam_graph(network, "gradcam"),
            "onnxcam": contenders.onnxcam_map(network, "gradcam"),
            "PyTorch forward": contenders.torch_forward(network),
        }
        runs |= peers(
            network,
            ("pytorch-grad-cam", "pytorch_grad_cam", contenders.pytorch_grad_cam),
            ("torch-cam", "torchcam", contenders.torch_cam),
            ("captum LayerGradCam", "captum", contenders.captum_grad_cam),
        )
        seconds = clock.interleaved(runs, setting.rounds)
        yield ratio("Grad-CAM graph / plain inference", network.name, seconds, "graph", "plain", goal)
        yield ratio("Grad-CAM `attribute` / plain inference", network.name, seconds, "onnxcam", "plain", goal)
        if "pytorch-grad-cam" in seconds:
            what = "Grad-CAM: pytorch-grad-cam / onnxcam"
            yield ratio(what, network.name, seconds, "pytorch-grad-cam", "onnxcam", 3.0, at_least=True)
        for name in ("torch-cam", "captum LayerGradCam", "PyTorch forward"):
            if name in seconds:
                yield ratio(f"Grad-CAM: {name} / onnxcam", network.name, seconds, name, "onnxcam")
        if "captum LayerGradCam" in runs:
            yield distance("Grad-CAM", network, runs["onnxcam"], contenders.captum_grad_cam)


@measurement
def gradients(setting: Setting) -> Iterator[Row]:
    """The gradient of one class with respect to the picture, true and guided."""
    for network in setting.networks.values():
        goal = GRADIENT_GOALS[network.name]
        runs = {
            "plain": contenders.plain(network),
            "gradient": contenders.onnxcam_map(network, "gradient"),
            "guided-backprop": contenders.onnxcam_map(network, "guided-backprop"),
        }
        runs |= peers(
            network,
            ("captum Saliency", "captum", contenders.captum_saliency),
            ("captum GuidedBackprop", "captum", contenders.captum_guided),
            ("onnx-ad", "onnx_ad", contenders.onnx_ad_gradient),
        )
        seconds = clock.interleaved(runs, setting.rounds)
        for method, peer, maker in (
            ("gradient", "captum Saliency", contenders.captum_saliency),
            ("guided-backprop", "captum GuidedBackprop", contenders.captum_guided),
        ):
            yield ratio(f"{method} / plain inference", network.name, seconds, method, "plain", goal)
            if peer in seconds:
                what = f"{method}: {peer} / onnxcam"
                yield ratio(what, network.name, seconds, peer, method, 1.0, at_least=True)
                yield distance(method, network, runs[method], maker)
        if "onnx-ad" in seconds:
            yield ratio("gradient: onnx-ad / onnxcam", network.name, seconds, "onnx-ad", "gradient")


ONE_THREAD_GOALS = {
    "ResNet-50": {"gradient": 2.2, "guided-backprop": 2.2, "deconvnet": 2.2},
    "MobileNetV3-Large": {"gradient": 3.0, "guided-backprop": 3.0, "deconvnet": 3.0},
    "ConvNeXt-Tiny": {"gradient": 2.3},
    "ViT-B/16": {"gradcam": 1.04, "gradient": 2.1},
}


@measurement
def one_thread(setting: Setting) -> Iterator[Row]:
    """Gradients in CPU seconds of one thread: other programs change these less than the time on the clock."""
    for name, goals in ONE_THREAD_GOALS.items():
        network = setting.networks.get(name) or Network(name, setting.folder)
        with contenders.threads(1):
            runs = {"plain": contenders.plain(network)}
            runs |= {method: contenders.onnxcam_map(network, method) for method in goals}
            seconds = clock.processor(runs, setting.rounds)
        for method, goal in goals.items():
            yield ratio(f"{method} / plain inference, CPU time of one thread", name, seconds, method, "plain", goal)


@measurement
def cams(setting: Setting) -> Iterator[Row]:
    """Every class activation map of one pass, at the last layer."""
    network = setting.networks["ResNet-50"]
    families = {activation.__name__, principal.__name__}
    methods = [name for name, one in METHODS.items() if one.in_graph and one.emit.__module__ in families]
    runs = {"plain": contenders.plain(network)}
    runs |= {name: contenders.onnxcam_map(network, name) for name in methods}
    seconds = clock.interleaved(runs, setting.rounds)
    for name in methods:
        yield ratio(f"{name} / plain inference", network.name, seconds, name, "plain", 1.1)


STAGE, MASKS, CELLS = "0.6", 64, 7  # the end of the first stage, of 256 channels


@measurement
def perturbations(setting: Setting) -> Iterator[Row]:
    """Methods of many passes, as many for both: Score-CAM and Ablation-CAM of 256 channels, RISE of 64 masks."""
    network = Network(networks.OPEN, setting.folder)
    batch = {"batch_size": contenders.BATCH}
    for method, name in (("scorecam", "ScoreCAM"), ("ablationcam", "AblationCAM")):
        runs = {"onnxcam": contenders.onnxcam_map(network, method, STAGE, **batch)}
        peer = functools.partial(contenders.pytorch_grad_cam, name=name, layer=STAGE)
        runs |= peers(network, ("pytorch-grad-cam", "pytorch_grad_cam", peer))
        yield from _times(f"{name}: pytorch-grad-cam / onnxcam", "pytorch-grad-cam", runs, setting)
    runs = {"onnxcam": contenders.onnxcam_map(network, "rise", samples=MASKS, cells=CELLS, **batch)}
    peer = functools.partial(contenders.dianna_rise, samples=MASKS, cells=CELLS)
    runs |= peers(network, ("dianna", "dianna", peer))
    yield from _times("RISE: dianna / onnxcam", "dianna", runs, setting)


def _times(what: str, peer: str, runs: Mapping[str, Callable[[], Any]], setting: Setting) -> Iterator[Row]:
    """Yield how many times the *peer* takes, if it is there."""
    if peer in runs:
        seconds = clock.interleaved(runs, 1 if setting.quick else 3, again=1)
        yield ratio(what, networks.OPEN, seconds, peer, "onnxcam", 2.0, at_least=True)


DEPLOYED_GOALS = {
    "ViT-B/16": {"gradcam": 1.10, "gradient": 2.2},
    "MobileNetV2 int8": {"gradcam": 1.10, "gradient": None},
}


@measurement
def deployed(setting: Setting) -> Iterator[Row]:
    """A transformer, and an integer network: against plain inference of the same file."""
    for name, goals in DEPLOYED_GOALS.items():
        network = Network(name, setting.folder)
        runs = {"plain": contenders.plain(network)}
        runs |= {method: contenders.onnxcam_map(network, method) for method in goals}
        seconds = clock.interleaved(runs, setting.rounds)
        for method, goal in goals.items():
            yield ratio(f"{method} / plain inference", name, seconds, method, "plain", goal)


INTEGER_GOALS = {"gradcam": 1.05, "gradient": 6.0, "guided-backprop": 6.0}


@measurement
def integers(setting: Setting) -> Iterator[Row]:
    """An integer network, CPU seconds of one thread: against plain inference, and against its float twin's gradient."""
    network, twin = (Network(name, setting.folder) for name in ("MobileNetV2 int8", "MobileNetV2"))
    runs = {"plain": contenders.one_thread(network), "twin": contenders.one_thread(twin, "gradient")}
    runs |= {method: contenders.one_thread(network, method) for method in INTEGER_GOALS}
    seconds = clock.processor(runs, setting.rounds)
    for method, goal in INTEGER_GOALS.items():
        yield ratio(f"{method} / plain inference, CPU of one thread", network.name, seconds, method, "plain", goal)
    what = "gradient / the float twin's gradient, CPU of one thread"
    yield ratio(what, network.name, seconds, "gradient", "twin", 1.3)


BAKED = ("ResNet-50", "MobileNetV3-Large", "MobileNetV2 int8")


@measurement
def baked(setting: Setting) -> Iterator[Row]:
    """A file with Grad-CAM inside, its heat map at the picture's size: against the file that it was made of."""
    for name in BAKED:
        network = setting.networks.get(name) or Network(name, setting.folder)
        runs = {"plain": contenders.plain(network), "baked": contenders.baked(network, "gradcam")}
        seconds = clock.interleaved(runs, setting.rounds)
        yield ratio("Grad-CAM baked / plain inference", name, seconds, "baked", "plain", 1.05)


VALIDATED = ("MobileNetV3-Large", "MobileNetV2 int8")
STARTED = """
import runpy, shutil, sys
script, output = sys.argv[1:]
shutil.rmtree(output, ignore_errors=True)
sys.argv = [script, "-o", output]
runpy.run_path(script, run_name="__main__")
"""


@measurement
def validate(setting: Setting) -> Iterator[Row]:
    """Two networks compared over a folder: against running both plainly, with the same decoding in threads."""
    pair = [setting.networks.get(name) or Network(name, setting.folder) for name in VALIDATED]
    with tempfile.TemporaryDirectory() as temporary:
        names = folders.photos(Path(temporary) / "photos", 96 if setting.quick else 512)
        runs = {
            "plain": folders.plainly(pair, names, spin=True),
            "asleep": folders.plainly(pair, names, spin=False),
            "validate": folders.validated(pair, names),
        }
        seconds = clock.interleaved(runs, 3 if setting.quick else 7, again=1)
        each = {name: took / len(names) for name, took in seconds.items()}
        what, on = "validate / both plainly: throughput", " and ".join(VALIDATED)
        yield ratio(what, on, each, "plain", "validate", 0.9, at_least=True)
        yield ratio(f"{what}, idle threads asleep in both", on, each, "asleep", "validate", at_least=True)
        script = folders.runner(pair[0], Path(temporary))
        command = [sys.executable, "-c", STARTED, str(script), str(Path(temporary) / "run")]
        took = clock.cpu_seconds(command, setting.times)
        yield Row("`python run.py` of a pack: start to the first map", pair[0].name, took, "s", "CPU seconds", 1.0)


@measurement
def explain(setting: Setting) -> Iterator[Row]:
    """A folder explained and written: CPU seconds against decoding and inference with the same threads."""
    network = setting.networks.get("MobileNetV3-Large") or Network("MobileNetV3-Large", setting.folder)
    with tempfile.TemporaryDirectory() as temporary:
        names = folders.photos(Path(temporary) / "photos", 96 if setting.quick else 512)
        (_, _, plain), *rows = folders.explained(network.path, names, folders.HOW, 3 if setting.quick else 7)
        for name, _, cpu in rows:
            detail, goal = f"{cpu * 1e3:.1f} / {plain * 1e3:.1f} ms of CPU", folders.EXPLAINED[name][1]
            yield Row(f"explain, {name} / decoding and inference", network.name, cpu / plain, "×", detail, goal)


@measurement
def detector(setting: Setting) -> Iterator[Row]:
    """models/detector: a baked file with ten maps against the plain one, and `validate` of two against both plainly."""
    with tempfile.TemporaryDirectory() as temporary:
        seconds = clock.interleaved(detectors.baked(Path(temporary)), setting.rounds)
        yield ratio("baked, K = 10 / plain inference", "models/detector", seconds, "baked", "plain", 1.5)
        names = detectors.photos(Path(temporary) / "photos", 48 if setting.quick else 256)
        runs = {"plain": detectors.plainly(names), "validate": detectors.validated(names)}
        took = clock.interleaved(runs, 3 if setting.quick else 7, again=1)
        each = {name: one / len(names) for name, one in took.items()}
        what = "validate / both plainly: throughput"
        yield ratio(what, "models/detector, twice", each, "plain", "validate", 0.9, at_least=True)


@measurement
def build(setting: Setting) -> Iterator[Row]:
    """Making the explanation graph: load, passes, layer, differentiation; without the session."""
    for network in setting.networks.values():
        runs: dict[str, Callable[[], Any]] = {
            "ONNX Runtime's session": functools.partial(contenders.session, str(network.path))
        }
        for method in ("gradcam", "gradient"):
            runs[method] = functools.partial(explanation_graph, network.path, method)
        seconds = clock.interleaved(runs, setting.times, again=1)
        for method in ("gradcam", "gradient"):
            what = f"building the {method} graph / creating the plain session"
            yield ratio(what, network.name, seconds, method, "ONNX Runtime's session", 1.0)
        yield from _second_start(network, setting)
    deep = Network("Transformer of 2,000 nodes", setting.folder)
    runs = {m: functools.partial(explanation_graph, deep.path, m) for m in ("gradcam", "gradient")}
    count = len(onnx.load(deep.path).graph.node)
    for method, took in clock.interleaved(runs, setting.times, again=1).items():
        yield Row(f"building the {method} graph", "transformer", took, "s", f"{count:,} nodes", 2.0)


def _second_start(network: Network, setting: Setting) -> Iterator[Row]:
    """Yield how long an explainer takes from a cache, its session included; CPU seconds of one thread."""
    methods = ("gradcam", "gradient")
    with tempfile.TemporaryDirectory() as folder, contenders.threads(1):
        runs: dict[str, Callable[[], Any]] = {"plain": functools.partial(contenders.session, str(network.path))}
        runs |= {method: functools.partial(contenders.started, network.path, method, folder) for method in methods}
        seconds = clock.processor(runs, setting.times, again=1)
    for method in methods:
        what = f"{method} from a cache, with its session / creating the plain session, CPU of one thread"
        yield ratio(what, network.name, seconds, method, "plain", 1.1)


LENGTHS = (1_000, 2_500, 5_000, 10_000)


@measurement
def chains(setting: Setting) -> Iterator[Row]:
    """Differentiating chains of Relu, Mul and Add."""
    models = {str(length): networks.chain(length) for length in LENGTHS}
    runs = {length: functools.partial(vjp, model) for length, model in models.items()}
    seconds = clock.interleaved(runs, 3 if setting.quick else 5, again=1)
    first, last = str(LENGTHS[0]), str(LENGTHS[-1])
    for length in LENGTHS:
        took = seconds[str(length)]
        detail, goal = f"{took / length * 1e6:.0f} µs a node", 10 if length == LENGTHS[-1] else None
        yield Row("gradient graph of a chain", f"{length:,} nodes", took, "s", detail, goal)
    growth = seconds[last] / seconds[first] / (LENGTHS[-1] / LENGTHS[0])
    yield Row("seconds a node: longest / shortest chain", "chains", growth, "×", "1 is linear", 1.5)


@measurement
def nodes(setting: Setting) -> Iterator[Row]:
    """How much larger the graph becomes."""
    for network in setting.networks.values():
        before = len(onnx.load(network.path).graph.node)
        methods = ("gradient", "gradcam")
        graphs = {method: len(explanation_graph(network.path, method).graph) for method in methods}
        if installed("onnx_ad"):
            graphs["onnx-ad"] = len(contenders.onnx_ad_graph(network).graph.node)
        for name, after in graphs.items():
            goal = 3.0 if name == "gradient" else None
            yield Row(f"nodes: {name} / model", network.name, after / before, "×", f"{after} / {before}", goal)


@measurement
def startup(setting: Setting) -> Iterator[Row]:
    """CPU seconds before anything is done."""
    script = Path(sys.executable).with_name("onnxcam")
    tool = [str(script)] if script.exists() else [sys.executable, "-c", "from onnxcam.cli import main; main()"]
    bare = clock.cpu_seconds([sys.executable, "-c", ""], setting.times)
    for what, command, goal in (
        ("`onnxcam --help`", [*tool, "--help"], 0.4),
        ("`import onnxcam`", [sys.executable, "-c", "import onnxcam"], 0.2),
        ("`from onnxcam import Explainer`", [sys.executable, "-c", "from onnxcam import Explainer"], None),
    ):
        detail = f"of it Python itself {bare:.3f} s"
        yield Row(what, "CPU", clock.cpu_seconds(command, setting.times), "s", detail, goal)
    network = setting.networks["MobileNetV3-Large"]
    picture = setting.folder / "noise.png"
    image.write(picture, np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8))
    command = [sys.executable, "-c", BEFORE_INFERENCE, str(network.path), str(picture)]
    seconds = clock.cpu_seconds(command, setting.times)
    yield Row("`onnxcam explain`: start to the first run", network.name, seconds, "s", "CPU seconds", 0.8)
    with tempfile.TemporaryDirectory() as folder:
        kept = [*command, "--cache", folder]
        clock.cpu_seconds(kept, 1)
        again = clock.cpu_seconds(kept, setting.times)
    plain = clock.cpu_seconds([sys.executable, "-c", PLAIN_START, str(network.path)], setting.times)
    detail = f"{again:.3f} / {plain:.3f} s of CPU"
    what = "`onnxcam explain --cache`, second start / a script that opens the plain session"
    yield Row(what, network.name, again / plain, "×", detail, 1.1)


PLAIN_START = """
import sys
import numpy
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""
BEFORE_INFERENCE = """
import os, sys
from onnxcam.explainer.compiled import CompiledExplanation
CompiledExplanation.run = lambda *_: os._exit(0)
picture, *options = sys.argv[2:]
sys.argv = ["onnxcam", "explain", sys.argv[1], picture, "--preprocess", "imagenet", "-o", picture + ".out", *options]
from onnxcam.cli import main
main()
"""


PLAIN = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
runtime = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
runtime.run(None, {"image": np.load(sys.argv[2])})
"""
EXPLAINED = """
import sys
import numpy as np
import onnxcam
onnxcam.Explainer(sys.argv[1], method=sys.argv[3], provider="cpu").attribute(np.load(sys.argv[2]), target=281)
"""


@measurement
def memory(setting: Setting) -> Iterator[Row]:
    """Peak memory of a fresh process, from its imports to the map."""
    for network in setting.networks.values():
        saved = network.path.with_suffix(".npy")
        np.save(saved, network.x)
        files = [str(network.path), str(saved)]
        before = clock.peak_bytes(sys.executable, PLAIN, files, setting.times)
        for method, goal in (("gradcam", 1.15), ("gradient", None)):
            after = clock.peak_bytes(sys.executable, EXPLAINED, [*files, method], setting.times)
            detail = f"{after / 2**20:.0f} / {before / 2**20:.0f} MiB"
            yield Row(f"peak memory: {method} / plain inference", network.name, after / before, "×", detail, goal)


BARE = """
import sys
sys.path.insert(0, sys.argv[3])
import torch
from networks import make
torch.onnx.export(make(sys.argv[1]), (torch.zeros(2, 3, 224, 224),), sys.argv[2], dynamo=True, verbose=False)
"""
CONVERTED = """
import sys
sys.path.insert(0, sys.argv[3])
import torch
from networks import make
from onnxcam.converters import from_pytorch
from_pytorch(make(sys.argv[1]), sys.argv[2], torch.zeros(1, 3, 224, 224), overwrite=True)
"""


@measurement
def converters(setting: Setting) -> Iterator[Row]:
    """A PyTorch network becomes a file: by the exporter alone, by onnxcam, by onnxcam with the proof."""
    network = setting.networks["ResNet-50"]
    with tempfile.TemporaryDirectory() as folder:
        runs = contenders.conversions(network, Path(folder))
        seconds = clock.interleaved(runs, 2 if setting.quick else 5, again=1)
        what = "from_pytorch without the proof / torch.onnx.export"
        yield ratio(what, network.name, seconds, "unproven", "exporter", 1.2)
        yield ratio("from_pytorch / torch.onnx.export", network.name, seconds, "proven", "exporter", 2.0)
        arguments = [network.name, str(Path(folder) / "net.onnx"), str(Path(__file__).parent)]
        times = 1 if setting.quick else 3
        bare, peak = (clock.peak_bytes(sys.executable, code, arguments, times) for code in (BARE, CONVERTED))
        weights = sum(each.nbytes for each in network.module.parameters())
        detail = f"{peak / 2**20:.0f} / {bare / 2**20:.0f} MiB, weights {weights / 2**20:.0f} MiB"
        what = "from_pytorch: peak memory beyond the exporter's / weights"
        yield Row(what, network.name, (peak - bare) / weights, "×", detail, 3.0)


Maker = Callable[[Network], Callable[[], Any]]


def peers(network: Network, *known: tuple[str, str, Maker]) -> dict[str, Callable[[], Any]]:
    """Return the contenders whose packages are installed, each given as name, package, maker."""
    return {name: make(network) for name, package, make in known if installed(package)}


def ratio(
    what: str,
    network: str,
    seconds: Mapping[str, float],
    above: str,
    below: str,
    goal: float | None = None,
    at_least: bool = False,
) -> Row:
    """Return the row of one contender's median against another's."""
    a, b = seconds[above], seconds[below]
    return Row(what, network, a / b, "×", f"{a * 1e3:.1f} / {b * 1e3:.1f} ms", goal, at_least)


def distance(what: str, network: Network, ours: Callable[[], np.ndarray], maker: Maker) -> Row:
    """Return the row that says how far onnxcam is from captum in float64, where captum in float32 is the measure.

    At a ReLU float32 is on the wrong side of zero now and then, so that deep networks differ by more than rounding.
    """
    exact = maker(network.double())()

    def far(y: np.ndarray) -> float:
        return float(np.linalg.norm(y.reshape(exact.shape) - exact) / np.linalg.norm(exact))

    value, peer = far(ours()), far(maker(network)())
    return Row(f"{what}: distance from float64", network.name, value, "", f"captum: {peer:.0e}", max(2 * peer, 1e-3))
