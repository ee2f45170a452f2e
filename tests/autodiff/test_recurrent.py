"""PyTorch's recurrent layers, as its exporter writes them: gradients against autograd."""

import io
import warnings

import numpy as np
import onnx
import pytest

from onnxcam.autodiff import vjp
from onnxcam.testing import run
from tests.optional import nn, torch


def exported(model: nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {"x": {0: "a", 1: "b"}}
        torch.onnx.export(model, (x,), file, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes=axes)
    return onnx.load_from_string(file.getvalue())


class First(nn.Module):
    """A recurrent layer, and its outputs at all steps."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.LazyLinear(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0])


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "options",
    [{}, {"bidirectional": True, "num_layers": 2}, {"batch_first": True, "bidirectional": True}, {"bias": False}],
    ids=str,
)
def test_layers_of_pytorch(kind: type[nn.Module], options: dict) -> None:
    torch.manual_seed(0)
    model, x = First(kind(3, 4, **options)), torch.randn(5, 2, 3, requires_grad=True)
    y = model(x)
    dy = torch.randn_like(y)
    (expected,) = torch.autograd.grad(y, x, dy)
    gradient = vjp(exported(model.eval(), x.detach()))
    feeds = dict(zip([value.name for value in gradient.graph.input], [x.detach().numpy(), dy.numpy()], strict=True))
    np.testing.assert_allclose(run(gradient, feeds)["x.gradient"], expected.numpy(), rtol=1e-4, atol=1e-6)
