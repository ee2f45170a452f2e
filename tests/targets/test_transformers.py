"""Networks of `transformers`: its detectors are found, its other networks are not taken for one."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcam.targets.detection import Detections
from onnxcam.targets.detectors.pairs import ScoresAndBoxes
from tests.networks import export
from tests.optional import nn, torch
from tests.targets.detectors import (
    SIZE,
    Array,
    X,
)
from tests.targets.opened import Opened

transformers_networks = ["detr", "yolos", "rt_detr", "conditional_detr"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", transformers_networks)
def test_transformers_detectors(name: str) -> None:
    pytest.importorskip("transformers")
    from tests.architectures.detectors import NETWORKS
    from tests.architectures.network import lively

    made = NETWORKS[name]()
    whole = lively(made.module)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            found = self.whole(pixel_values=x)
            return found.last_hidden_state, found.logits, found.pred_boxes

    names = ["cat", "dog", "bird", "horse", "cow"]
    x = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
    opened = Opened(export(Both(), x, output_names=["last_hidden_state", "logits", "pred_boxes"]), labels=names)
    task = opened.network.task
    assert isinstance(task, Detections)
    exclusive = name in ("detr", "yolos")  # these alone have a class "no object"
    decoder = task.decoder
    assert isinstance(decoder, ScoresAndBoxes)
    assert decoder.tensors == ("logits", "pred_boxes")
    assert (decoder.exclusive, decoder.background_last, decoder.labels) == (exclusive, True, 5)
    with torch.no_grad():
        found = whole(pixel_values=x)
    tensor = x.numpy()
    apart = np.abs(opened.outputs(tensor)["logits"] - found.logits.numpy()).max()
    assert apart < 1e-3  # the same queries in the same order
    goal = opened.goal(wish_at(found.pred_boxes[0, 0]), tensor)
    row, column = np.argwhere(goal.feed)[0]
    assert goal.index == column < 5
    gradient = opened.gradient(goal, tensor).astype(np.float64)
    along = gradient / np.linalg.norm(gradient)
    if name == "rt_detr":  # autograd stops inside and is not the slope; docs/architectures.md holds it so, too
        ends = [score_of(whole.double(), tensor + step * along, row, column) for step in (1e-4, -1e-4)]
        assert (ends[0] - ends[1]).item() / 2e-4 == pytest.approx(np.linalg.norm(gradient), rel=1e-3)
        across = np.random.default_rng(0).standard_normal(X.shape)
        ends = [score_of(whole, tensor + step * across, row, column) for step in (1e-6, -1e-6)]
        assert (ends[0] - ends[1]).item() / 2e-6 == pytest.approx((gradient * across).sum(), rel=1e-3)
        return
    at = x.clone().requires_grad_()
    whole(pixel_values=at).logits[0, row, column].backward()
    assert at.grad is not None
    assert np.linalg.norm(gradient - at.grad.numpy()) <= 1e-3 * np.linalg.norm(at.grad.numpy())


def score_of(network: nn.Module, x: Array, row: int, column: int) -> torch.Tensor:
    with torch.no_grad():
        return network(pixel_values=torch.from_numpy(x)).logits[0, row, column]


def wish_at(box: torch.Tensor) -> str:
    cx, cy, w, h = (box * SIZE).tolist()
    return f"box={cx - w / 2},{cy - h / 2},{cx + w / 2},{cy + h / 2}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["vit", "resnet", "clip", "dinov2", "segformer_segmentation"])
def test_transformers_other_networks(name: str) -> None:
    pytest.importorskip("transformers")
    from tests.architectures import NETWORKS
    from tests.architectures.network import Wrapped

    made = NETWORKS[name]()
    x = [torch.rand(shape) for shape in made.inputs.values()]
    assert not isinstance(Opened(export(Wrapped(made), *x)).network.task, Detections)
