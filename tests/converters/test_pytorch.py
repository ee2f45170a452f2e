"""PyTorch networks, converted: equal to PyTorch, with PyTorch's names, and nothing of their author's machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from onnxcam import Explainer, converters
from onnxcam.converters import Conversion, from_file, from_pytorch
from onnxcam.errors import ConversionError
from onnxcam.metadata.card import Card
from tests.command import Ran
from tests.converters import torchnets
from tests.optional import torch

Run = Callable[..., Ran]
PICTURE = Path(str(resources.files("onnxcam") / "assets" / "shapes_1.png"))
TWO = {"image": torch.randn(2, 3, 16, 16), "clue": torch.randn(2, 5)}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def results(path: Path, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    runtime = session(path)
    return dict(zip((y.name for y in runtime.get_outputs()), runtime.run(None, feeds), strict=True))


def card(path: Path) -> Card:
    return Card.of({p.key: p.value for p in onnx.load(path).metadata_props})


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Conversion]:
    """A network with everything exposed, from training mode."""
    net = torchnets.make("Residual").train()
    net.layer2.eval()
    path = tmp_path_factory.mktemp("residual") / "net.onnx"
    made = from_pytorch(
        net,
        path,
        torch.randn(1, 3, 64, 64),
        dynamic="size",
        expose=["layer1.0", "layer2", "all-blocks"],
        gradients=True,
        input_gradient=True,
        preprocess="unit",
        labels=["circle", "square", "star", "triangle"],
        task="multi-label",
        verify_on=[PICTURE],
    )
    return net, made


def test_the_users_module_is_left_as_it_was(residual: tuple[Any, Conversion]) -> None:
    net, _ = residual
    assert net.training
    assert not net.layer2.training
    assert not net.layer2[0].conv1.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(part._forward_hooks for part in net.modules())


def test_everything_is_compared_and_holds(residual: tuple[Any, Conversion]) -> None:
    _, made = residual
    assert all(row.holds and row.tolerance is not None for row in made.verification)
    found = {(row.kind, row.name, row.feed) for row in made.verification}
    for feed in ("random", PICTURE.name):
        assert {("output", "output", feed), ("input gradient", "x", feed)} <= found
        assert {("activation", "layer2", feed), ("gradient", "layer1.0", feed)} <= found
        assert ("gradient", "layer2", f"{feed}, chosen class") in found


def test_activations_and_gradients_are_autograds(residual: tuple[Any, Conversion]) -> None:
    net, made = residual
    net = net.eval()
    x = torch.randn(2, 3, 48, 80, requires_grad=True)  # another size than the example's
    kept = {}
    for name in ("layer1.0", "layer2"):
        net.get_submodule(name).register_forward_hook(lambda m, i, y, name=name: kept.update({name: y}))
    logits = net(x)
    index = [2, int(logits[1].argmax())]
    wanted = [kept["layer1.0"], kept["layer2"], x]
    gradients = torch.autograd.grad(logits[0, 2] + logits[1, index[1]], wanted)
    found = results(made.path, {"x": x.detach().numpy(), "onnxcam.class": np.array([2, -1])})
    np.testing.assert_array_equal(found["onnxcam.class.chosen"], index)
    np.testing.assert_allclose(found["output"], logits.detach(), rtol=1e-4, atol=1e-5)
    for name, dx in zip(("layer1.0", "layer2", "x"), gradients, strict=True):
        np.testing.assert_allclose(found[f"{name}.gradient"], dx, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found["layer2"], kept["layer2"].detach(), rtol=1e-4, atol=1e-5)
    net.train()


def test_open_axes_have_names(residual: tuple[Any, Conversion]) -> None:
    shapes = {x.name: x.shape for x in session(residual[1].path).get_inputs()}
    assert shapes == {"x": ["batch", 3, "height", "width"], "onnxcam.class": ["batch"]}


def test_the_card(residual: tuple[Any, Conversion]) -> None:
    found = card(residual[1].path)
    assert found.labels == ["circle", "square", "star", "triangle"]
    assert found.task == "multi-label"
    assert found.preprocess is not None
    assert found.layers["layer2"] == "layer2.0.relu"
    assert {"bn1", "layer1.0.bn1", "layer1.1.relu", "fc"} <= set(found.layers.values())
    assert "conv1" not in found.layers.values()  # folded with bn1, whose output the tensor is
    assert found.producer["framework"] == f"torch {torch.__version__}"
    made = {y for node in onnx.load(residual[1].path).graph.node for y in node.output}
    assert set(found.layers) <= made


def test_explain_and_inspect_need_no_flags(residual: tuple[Any, Conversion], onnxcam: Run) -> None:
    path = residual[1].path
    ran = onnxcam("explain", path, PICTURE, "--layer", "layer1.1", "--target", "star", "--json")
    assert ran.code == 0, ran.err
    (entry,) = json.loads(ran.out)
    assert entry["target"] == {"index": 2, "label": "star"}
    assert not any("guess" in warning for warning in entry["warnings"])
    seen = json.loads(onnxcam("inspect", path, "--json").out)
    assert "range=0-1" in seen["preprocess"]
    assert not seen["warnings"]
    assert seen["layers"][0][:2] == ["layer2.0.relu", "layer2"]
    assert seen["methods"]["gradcam"] == ""
    assert onnxcam("instrument", path, "-o", "again.onnx", "--layer", "layer1").code == 0


def test_nothing_of_the_authors_machine_is_in_the_file(residual: tuple[Any, Conversion]) -> None:
    data = residual[1].path.read_bytes()
    for word in (b".py", str(Path(__file__).parent).encode(), b"torchnets", b"pkg.torch", b"stack_trace"):
        assert word not in data


NETS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Depthwise": ((torch.randn(1, 3, 32, 32),), {"expose": ["depth", "auto"], "gradients": True}),
    "ViT": ((torch.randn(1, 3, 32, 32),), {"expose": ["blocks.0", "auto"], "gradients": True}),
    "UNet": ((torch.randn(1, 3, 32, 32),), {"expose": ["all-blocks"], "dynamic": "size"}),
    "Two": (TWO, {"expose": ["conv", "linear"], "gradients": True, "input_gradient": True}),
}


@pytest.mark.parametrize("kind", NETS)
def test_networks(kind: str, tmp_path: Path) -> None:
    net, (example, options) = torchnets.make(kind).eval(), NETS[kind]
    made = from_pytorch(net, tmp_path / "net.onnx", example, **options)
    assert all(row.holds for row in made.verification)
    assert {"output", "activation", "input gradient"} <= {row.kind for row in made.verification}
    assert made.exporter == "torch.onnx.export (dynamo)"
    assert not made.warnings
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    feeds = {"x": example[0]} if isinstance(example, tuple) else example
    expected = net(**feeds)
    arrays = {name: x.numpy() for name, x in feeds.items()}
    if options.get("gradients"):
        arrays["onnxcam.class"] = np.full(len(next(iter(arrays.values()))), -1)
    found = results(made.path, arrays)
    for name, y in expected.items() if isinstance(expected, dict) else [("output", expected)]:
        np.testing.assert_allclose(found[name], y.detach(), rtol=1e-3, atol=1e-4)
    layers = [name for name, meaning in made.outputs if meaning.startswith("activation")]
    if kind == "UNet":
        assert [card(made.path).layers[name].split(".")[0] for name in layers] == [
            "down1", "down2", "middle", "up2", "up1"
        ]  # fmt: skip
    if kind == "ViT":
        assert layers == ["blocks.0", "blocks.1.norm1"]


def test_an_output_is_picked_from_a_dict(tmp_path: Path) -> None:
    net = torchnets.make("UNet")
    made = from_pytorch(net, tmp_path / "net.onnx", torch.randn(1, 3, 32, 32), outputs=["mask"], dynamic="none")
    assert [y.name for y in session(made.path).get_outputs()] == ["mask"]
    assert session(made.path).get_inputs()[0].shape == [1, 3, 32, 32]
    with pytest.raises(ConversionError, match=r"no output 'masc'; there are mask, middle\. Did you mean 'mask'"):
        from_pytorch(net, tmp_path / "other.onnx", torch.randn(1, 3, 32, 32), outputs=["masc"])


def test_a_batch_that_the_model_fixes_is_the_examples(tmp_path: Path) -> None:
    made = from_pytorch(torchnets.make("Stubborn"), tmp_path / "net.onnx", torch.randn(1, 3, 8, 8))
    assert list(made.warnings) == ["the model fixes axis 0 (batch) of input 'x'"]
    assert session(made.path).get_inputs()[0].shape == [1, 3, 8, 8]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), noise)
    return folder


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_precision(precision: str, tmp_path: Path, pictures: Path) -> None:
    net = torchnets.make("Residual")
    calibrate = {"calibrate": pictures, "verify_on": [pictures / "0.png"]} if precision == "int8" else {}
    options = {"preprocess": "imagenet", "expose": ["layer1", "layer2"], "gradients": True, "precision": precision}
    x = torch.randn(1, 3, 32, 32)
    made = from_pytorch(net, tmp_path / "net.onnx", x, **options, **calibrate)
    rows = [row for row in made.verification if row.precision == precision]
    assert {"output", "activation", "gradient"} <= {row.kind for row in rows}
    assert all(row.tolerance is not None for row in made.verification if row.precision == "float32")
    assert min(row.cosine for row in rows if row.kind in ("output", "activation")) > 0.98
    operators = {node.op_type for node in onnx.load(made.path).graph.node}
    kinds = {each.data_type for each in onnx.load(made.path).graph.initializer}
    wanted = onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.INT8
    assert wanted in kinds
    assert ("QuantizeLinear" in operators) == (precision == "int8")
    assert session(made.path).get_inputs()[0].type == "tensor(float)"
    explainer = Explainer(made.path, layer="layer1")
    assert not explainer(PICTURE).warnings or precision == "int8"
    assert not any("guess" in warning for warning in explainer.warnings)
    assert card(made.path).layers["layer1"] == "layer1.1.relu"
    assert explainer.choice is not None
    assert explainer.choice.layer.name == "layer1.1.relu"


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("not today")


def test_the_older_exporter_steps_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "export", refuse)
    net = torchnets.make("Residual")
    made = from_pytorch(net, tmp_path / "net.onnx", torch.randn(1, 3, 32, 32), expose=["layer1.0.bn1", "conv1"])
    assert made.exporter == "torch.onnx.export (TorchScript)"
    assert "newer exporter refused the model (not today" in made.warnings[0]
    assert ("activation", "conv1") in {(row.kind, row.name) for row in made.verification}
    assert session(made.path).get_inputs()[0].shape == ["batch", 3, 32, 32]
    assert b".py" not in made.path.read_bytes()
    assert Explainer(made.path, layer="layer2.0").choice is not None


class Brightest(torch.nn.Module):
    """Two rows, whatever the batch: they are no batch, though the tracer's has two images."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        means = x.mean((2, 3))
        return {"scores": means, "best": means.reshape(-1).topk(2).values[:, None]}


def test_rows_that_are_as_many_as_the_images_are_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "export", refuse)
    made = from_pytorch(Brightest(), tmp_path / "net.onnx", torch.randn(1, 3, 8, 8))
    first = {y.name: y.shape[0] for y in session(made.path).get_outputs()}
    assert first["scores"] == "batch"
    assert first["best"] != "batch"


def test_an_exported_program(tmp_path: Path) -> None:
    net = torchnets.make("Depthwise").eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (torch.randn(2, 3, 32, 32),), dynamic_shapes={"x": {0: batch}})
    torch.export.save(program, tmp_path / "net.pt2")
    made = from_file(tmp_path / "net.pt2", tmp_path / "net.onnx", expose=["depth"])
    assert {("output", "output"), ("input gradient", "x")} <= {(row.kind, row.name) for row in made.verification}
    assert session(made.path).get_inputs()[0].shape[1:] == [3, 32, 32]
    assert isinstance(session(made.path).get_inputs()[0].shape[0], str)
    assert "depth" in {name for name, _ in made.outputs}
    assert any("activation of 'depth' is not compared" in text for text in made.warnings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript(tmp_path: Path) -> None:
    net = torchnets.make("Residual").eval()
    torch.jit.trace(net, torch.randn(1, 3, 32, 32)).save(tmp_path / "net.pt")
    made = from_file(tmp_path / "net.pt", tmp_path / "net.onnx", example=["1x3x32x32"])
    assert {"output", "input gradient"} <= {row.kind for row in made.verification}
    assert any("older exporter" in text for text in made.warnings)
    x = torch.randn(2, 3, 32, 32)
    found = session(made.path).run(None, {session(made.path).get_inputs()[0].name: x.numpy()})[0]
    np.testing.assert_allclose(found, net(x).detach(), rtol=1e-4, atol=1e-5)


def test_importing_the_converters_is_light() -> None:
    import subprocess
    import sys

    paths = [str(Path(converters.__file__).parents[1]), str(Path(converters.__file__).parents[1] / "converters")]
    code = f"import sys; sys.path[:0] = {paths}; import onnxcam.converters; "
    code += "print([m for m in ('torch', 'tensorflow', 'onnxruntime') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_the_card_of_what_is_no_classifier(tmp_path: Path) -> None:
    class Speaker(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.look = torch.nn.Embedding(4, 6), torch.nn.Conv2d(3, 6, 3)

        def forward(self, x: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
            return (self.words(words).cumsum(1) + self.look(x).mean((2, 3))[:, None]) @ self.words.weight[1:].T

    words = {"words": ["", "a", "red", "circle"]}
    example = (torch.rand(1, 3, 8, 8), torch.tensor([[1, 2, 0]]))
    made = from_pytorch(
        Speaker(), tmp_path / "m.onnx", example, task="caption", labels=words["words"][1:], vocabulary=words
    )
    found = card(made.path)
    assert (found.task, found.labels, found.vocabulary) == ("caption", words["words"][1:], words)
    assert {row.kind for row in made.verification} == {"output", "input gradient"}


def test_where_rounding_stops_every_gradient_a_note_says_so(tmp_path: Path) -> None:
    class Rounded(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.round(4 * x) / 4

    made = from_pytorch(Rounded(), tmp_path / "m.onnx", torch.rand(1, 3, 8, 8))
    assert "the gradients are not compared: none reaches an input" in made.warnings
    assert {row.kind for row in made.verification} == {"output"}
