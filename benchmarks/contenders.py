"""Who is measured: each library's own way to the same result, as a function without arguments.

Every session and PyTorch get `THREADS` threads. Peers are used as their documentation says, on a network of their
own, since they leave hooks on it.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import networks
import numpy as np
import onnx
import onnxruntime
import torch
from built import explanation_graph

import onnxcam
from onnxcam.bake.bake import bake
from onnxcam.converters import from_pytorch
from onnxcam.engine import Session
from onnxcam.graph.io import to_bytes
from onnxcam.metadata.reserved import CLASS

THREADS = 2
TARGET = 281
BATCH = 16  # samples a pass, for methods of several passes
PEERS = ("pytorch_grad_cam", "torchcam", "captum", "onnx_ad", "dianna")


class Options(onnxruntime.SessionOptions):
    """Session options with `THREADS` threads: what onnxcam too creates its sessions with here."""

    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = THREADS


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Create the sessions of the block with *count* threads."""
    global THREADS
    before, THREADS = THREADS, count
    try:
        yield
    finally:
        THREADS = before


onnxruntime.SessionOptions = Options
torch.set_num_threads(THREADS)
logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports that torchvision is missing
warnings.filterwarnings("ignore", module="torch|captum|pytorch_grad_cam|torchcam")


@dataclass
class Network:
    """A network as PyTorch module and as .onnx file, and its input."""

    name: str
    folder: Path
    module: torch.nn.Module = field(init=False)
    path: Path = field(init=False)

    def __post_init__(self) -> None:
        self.module = networks.make(self.name)
        self.path = networks.exported(self.name, self.module, self.folder)
        self.x = networks.picture()
        self.tensor = torch.from_numpy(self.x)

    def double(self) -> Network:
        """Return the same network in float64."""
        wide = copy.copy(self)
        wide.module, wide.tensor = self.twin().double(), self.tensor.double()
        return wide

    def twin(self) -> Any:
        """Return a copy of the module, for a peer of its own."""
        return copy.deepcopy(self.module)


def session(model: str | bytes, options: Options | None = None) -> onnxruntime.InferenceSession:
    """Return a session on the CPU."""
    return onnxruntime.InferenceSession(model, options or Options(), providers=["CPUExecutionProvider"])


def plain(network: Network) -> Callable[[], Any]:
    """Plain inference of the file: the limit."""
    runtime = session(str(network.path))
    return lambda: runtime.run(None, {"image": network.x})


def onnxcam_map(network: Network, method: str, layer: str | None = None, **settings: Any) -> Callable[[], np.ndarray]:
    """onnxcam as users call it."""
    explainer = onnxcam.Explainer(network.path, method=method, layer=layer, provider="cpu", settings=settings)
    return lambda: explainer.attribute(network.x, target=[TARGET])


def onnxcam_graph(network: Network, method: str) -> Callable[[], Any]:
    """onnxcam's explanation graph alone."""
    runtime = Session(explanation_graph(network.path, method), "cpu")
    feeds = {"image": network.x, CLASS: np.asarray([TARGET])}
    return lambda: runtime.run(feeds)


def one_thread(network: Network, method: str | None = None) -> Callable[[], Any]:
    """The file, or its explanation graph for *method*, on one thread."""
    options = Options()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(network.folder))
    model = str(network.path) if method is None else to_bytes(explanation_graph(network.path, method))
    runtime = session(model, options)
    feeds = {"image": network.x} if method is None else {"image": network.x, CLASS: np.asarray([TARGET])}
    return lambda: runtime.run(None, feeds)


def baked(network: Network, method: str) -> Callable[[], Any]:
    """The file that `onnxcam bake` writes, as any host runs it."""
    path = network.folder / f"{network.path.stem}-{method}.onnx"
    bake(network.path, path, method)
    runtime = session(str(path))
    return lambda: runtime.run(None, {"image": network.x})


def started(path: Path, method: str, cache: str) -> onnxcam.Explainer:
    """Return an explainer, ready to run, whose graphs the folder *cache* keeps."""
    return onnxcam.Explainer(path, method=method, provider="cpu", cache=cache)


def conversions(network: Network, folder: Path) -> dict[str, Callable[[], Any]]:
    """PyTorch's exporter alone, and `from_pytorch` without and with the proof; the batch is open in all."""
    path, module, example = folder / "net.onnx", network.twin(), (torch.cat([network.tensor] * 2),)

    def exporter() -> Any:
        shapes = ({0: torch.export.Dim("batch")},)
        return torch.onnx.export(module, example, path, dynamo=True, verbose=False, dynamic_shapes=shapes)

    return {
        "exporter": exporter,
        "unproven": lambda: from_pytorch(module, path, network.tensor, verify=False),
        "proven": lambda: from_pytorch(module, path, network.tensor),
    }


def torch_forward(network: Network) -> Callable[[], Any]:
    """Plain inference by PyTorch."""
    module = network.twin()

    def run() -> torch.Tensor:
        with torch.inference_mode():
            return module(network.tensor)

    return run


def pytorch_grad_cam(network: Network, name: str = "GradCAM", layer: str = "0.-1") -> Callable[[], np.ndarray]:
    """One of pytorch-grad-cam's classes, `BATCH` samples a pass; its map is enlarged to the picture's size."""
    import pytorch_grad_cam as package
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = network.twin()
    target = functools.reduce(lambda inner, at: inner[int(at)], layer.split("."), module)
    cam = getattr(package, name)(model=module, target_layers=[target])
    cam.batch_size = BATCH

    def run() -> np.ndarray:
        with mock.patch("tqdm.tqdm", lambda samples, **_: samples):
            return cam(input_tensor=network.tensor, targets=[ClassifierOutputTarget(TARGET)])

    return run


def dianna_rise(network: Network, samples: int, cells: int) -> Callable[[], np.ndarray]:
    """dianna's RISE on the file, which it runs on ONNX Runtime; half of each mask is kept."""
    from dianna.methods.rise_image import RISEImage

    path, x = str(network.path), network.x[0]
    explainer = RISEImage(n_masks=samples, feature_res=cells, p_keep=0.5, axis_labels={0: "channels"})

    def run() -> np.ndarray:
        with mock.patch("dianna.utils.predict.tqdm", lambda batches, **_: batches):
            return np.asarray(explainer.explain(path, x, [TARGET], batch_size=BATCH))

    return run


def torch_cam(network: Network) -> Callable[[], np.ndarray]:
    """torch-cam's GradCAM."""
    from torchcam.methods import GradCAM

    module = network.twin()
    cam = GradCAM(module, target_layer=module[0][-1])

    def run() -> np.ndarray:
        scores = module(network.tensor)
        return cam(TARGET, scores)[0].detach().numpy()

    return run


def captum_grad_cam(network: Network) -> Callable[[], np.ndarray]:
    """captum's LayerGradCam."""
    from captum.attr import LayerGradCam

    module = network.twin()
    cam = LayerGradCam(module, module[0][-1])
    return lambda: cam.attribute(network.tensor, target=TARGET, relu_attributions=True).detach().numpy()


def captum_saliency(network: Network) -> Callable[[], np.ndarray]:
    """captum's Saliency, signed."""
    from captum.attr import Saliency

    method = Saliency(network.twin())
    x = network.tensor.clone().requires_grad_()
    return lambda: method.attribute(x, target=TARGET, abs=False).detach().numpy()


def captum_guided(network: Network) -> Callable[[], np.ndarray]:
    """captum's GuidedBackprop."""
    from captum.attr import GuidedBackprop

    method = GuidedBackprop(network.twin())
    x = network.tensor.clone().requires_grad_()
    return lambda: method.attribute(x, target=TARGET).detach().numpy()


def onnx_ad_graph(network: Network) -> onnx.ModelProto:
    """Return onnx-ad's gradient of the whole network."""
    import onnx_ad

    return onnx_ad.reverse(onnx.load(network.path))


def onnx_ad_gradient(network: Network) -> Callable[[], np.ndarray]:
    """onnx-ad's gradient, on ONNX Runtime; the cotangent is a column for the one direction."""
    model = onnx_ad_graph(network)
    runtime = session(model.SerializeToString())
    seed = np.zeros(networks.CLASSES, np.float32)
    seed[TARGET] = 1
    return lambda: runtime.run(["adj_image"], {"image": network.x, "adj_logits": seed.reshape(1, -1)})[0]


def installed(module: str) -> bool:
    """Whether the peer *module* is there."""
    return importlib.util.find_spec(module) is not None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the peers' own warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
