"""What `onnxcam export` refuses: one line that says what, where and what to do; exit code 2; nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxcam_converters import verify

from onnxcam.converters import from_pytorch
from onnxcam.errors import ConversionError, OnnxcamError, OutputError
from onnxcam.graph.io import load
from tests.command import Ran
from tests.converters import torchnets
from tests.optional import torch

Run = Callable[..., Ran]
NETS = "tests.converters.torchnets"
INPUT = ("--input", "1x3x32x32")


def refused(onnxcam: Run, *words: Any, says: list[str]) -> None:
    Path("old.onnx").write_text("what was there", encoding="utf-8")
    before = sorted(Path().iterdir())
    ran = onnxcam("export", *words, "-o", "old.onnx", "--overwrite")
    lines = ran.err.splitlines()
    assert ran.code == 2, ran.out
    assert len(lines) == 1, ran.err
    assert lines[0].startswith("error: ")
    for text in says:
        assert text in lines[0]
    assert ran.out == ""
    assert sorted(Path().iterdir()) == before
    assert Path("old.onnx").read_text(encoding="utf-8") == "what was there"


def test_control_flow_that_depends_on_data(onnxcam: Run) -> None:
    says = ["data-dependent", "torchnets.py:", "use torch.where or torch.cond"]
    refused(onnxcam, f"{NETS}:Undecided", *INPUT, says=says)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("no.such:make", ["there is no module 'no.such'", "PYTHONPATH"]),
        (f"{NETS}:mak", ["has no 'mak'. Did you mean 'make'?"]),
        (f"{NETS}:nn.__name__", ["is a str, which cannot be called"]),
        (f"{NETS}:broken", ["broken() failed: no luck today", "torchnets.py:", "--arg key=value"]),
        (f"{NETS}:number", ["returns a int; it must return an nn.Module or a Keras model"]),
        ("none.pt2", ["'none.pt2' does not exist; give a file, a SavedModel folder, or package.module:callable"]),
        ("a.onnx", ["is ONNX already; `onnxcam instrument`"]),
        ("a.safetensors", ["has weights but no network", "--weights a.safetensors"]),
        ("a.txt", ["cannot be converted; supported are .pt2, .pt"]),
        ("weights.pt", ["has weights but no network", "--weights weights.pt"]),
        ("whole.pt", ["holds pickled objects, which could run any code", "--unsafe-pickle"]),
        ("torn.pt", ["'torn.pt' is no PyTorch file, or a truncated one"]),
        ("torn.pt2", ["'torn.pt2' cannot be read by this PyTorch", "export it again"]),
    ],
)
def test_sources(onnxcam: Run, source: str, says: list[str]) -> None:
    for name in ("a.onnx", "a.safetensors", "a.txt", "torn.pt", "torn.pt2"):
        Path(name).write_bytes(b"nothing of the kind")
    torch.save(torchnets.make().state_dict(), "weights.pt")
    torch.save(torchnets.make(), "whole.pt")
    refused(onnxcam, source, *INPUT, says=says)


def test_a_callable_with_the_wrong_arguments(onnxcam: Run) -> None:
    refused(onnxcam, f"{NETS}:make", "--arg", "kid=3", *INPUT, says=["make(kid=3) failed", "unexpected keyword"])
    refused(onnxcam, f"{NETS}:make", "--arg", "kind", *INPUT, says=["--arg 'kind' is no key=value"])


def test_weights(onnxcam: Run) -> None:
    make = (f"{NETS}:Residual", *INPUT, "--weights")
    state = torchnets.make().state_dict()
    refused(onnxcam, *make, "none.pt", says=["none.pt: no such file; check the name"])
    torch.save({f"x.{key}": value for key, value in state.items()}, "other.pt")
    says = ["lacks conv1.weight, conv1.bias, bn1.weight, bn1.bias, bn1.running_mean and ", "weights of another network"]
    refused(onnxcam, *make, "other.pt", says=says)
    torch.save({**state, "extra": torch.zeros(1)}, "more.pt")
    refused(onnxcam, *make, "more.pt", says=["has unknown extra: these are weights of another network"])
    torch.save({**state, "fc.bias": torch.zeros(9)}, "classes.pt")
    refused(onnxcam, *make, "classes.pt", says=["has other shapes: fc.bias [9] for [4]", "number of classes"])
    torch.save({"epoch": 3}, "epoch.pt")
    refused(onnxcam, *make, "epoch.pt", says=["has no state dict but epoch"])
    torch.save({"model": torchnets.make(), "epoch": 3}, "objects.pt")
    refused(onnxcam, *make, "objects.pt", says=["holds pickled objects", "--unsafe-pickle"])
    refused(onnxcam, "objects.pt", "--weights", "more.pt", says=["'objects.pt' has its own weights; use --weights"])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_that_fit(onnxcam: Run, suffix: str) -> None:
    """In the wrappers of training scripts, and with DataParallel's prefix."""
    from safetensors.torch import save_file

    state = torchnets.make("Tiny").state_dict()
    if suffix == ".pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, "w.pt")
    else:
        save_file(state, "w.safetensors")
    ran = onnxcam("export", f"{NETS}:Tiny", *INPUT, "--weights", f"w{suffix}", "-o", "net.onnx", "--outputs", "y")
    assert ran.code == 0, ran.err
    import onnxruntime

    x = torch.randn(3, 3, 32, 32)
    (y,) = onnxruntime.InferenceSession("net.onnx").run(["y"], {"x": x.numpy()})
    np.testing.assert_allclose(y, torchnets.make("Tiny").eval()(x).detach(), rtol=1e-4, atol=1e-5)


def test_a_pickle_that_is_trusted(onnxcam: Run) -> None:
    torch.save(torchnets.make("Tiny"), "whole.pth")
    ran = onnxcam("export", "whole.pth", "--unsafe-pickle", *INPUT, "-o", "net.onnx")
    assert ran.code == 0, ran.err
    assert "output\toutput\trandom" in ran.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--input", "1x3"), ["the model cannot be called with x [1, 3]: ", "give its input shape (--input)"]),
        (("--input", "3by4"), ["input '3by4' does not parse; write [name=]1x3x224x224[:float32]"]),
        (("--input", "x=1x3x32x32:int99"), ["does not parse"]),
        ((*INPUT, "--dynamic", "all"), ["dynamic='all' is unknown; give one of none, batch, size"]),
        ((*INPUT, "--inputs", "a,b"), ["2 input names for 1 inputs (x)"]),
        ((*INPUT, "--outputs", "a,b"), ["2 output names (a, b) for 1 outputs"]),
        ((*INPUT, "--precision", "int4"), ["no precision is called 'int4'; there are float32, fp16, int8"]),
        ((*INPUT, "--precision", "int8"), ["int8 needs images", "--calibrate FOLDER"]),
        ((*INPUT, "--precision", "int8", "--calibrate", "."), ["no calibration images in '.'"]),
        ((*INPUT, "--task", "sorting"), ["no task is called 'sorting'"]),
        ((*INPUT, "--expose", "conf"), ["the model has no layer 'conf'. Did you mean 'conv'"]),
        ((*INPUT, "--preprocess", "imagenot"), ["is no preset", "Did you mean 'imagenet'"]),
        ((*INPUT, "--labels", "none.txt"), ["none.txt: no such file"]),
        ((*INPUT, "--verify-on", "none.png"), ["none.png"]),
    ],
)
def test_options(onnxcam: Run, words: tuple[str, ...], says: list[str]) -> None:
    refused(onnxcam, f"{NETS}:Tiny", *words, says=says)


def test_gradients_of_what_is_no_classifier(onnxcam: Run) -> None:
    says = ["no output of the model is a vector of class scores"]
    refused(onnxcam, f"{NETS}:UNet", *INPUT, "--expose", "middle", "--gradients", says=says)


def test_where_nothing_can_be_written(onnxcam: Run, tmp_path: Path) -> None:
    for place, says in ((tmp_path / "none" / "a.onnx", "No such file"), (tmp_path, "is a folder")):
        with pytest.raises(OutputError, match=says):
            from_pytorch(torchnets.make("Tiny"), place, torch.randn(1, 3, 32, 32))


def test_an_unequal_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof is one: a graph that is off by a little is not written."""
    from onnxcam_converters import pipeline

    def load(path: Path) -> Any:
        model = pipeline_load(path)
        weight = model.graph.initializers["fc.bias"]
        import onnx_ir as ir

        weight.const_value = ir.tensor(weight.const_value.numpy() + np.float32(1e-2), name="fc.bias")
        return model

    pipeline_load = pipeline.load
    monkeypatch.setattr(pipeline, "load", load)
    with pytest.raises(
        ConversionError, match="output 'output' of the float32 file differs from that of torch"
    ) as error:
        from_pytorch(torchnets.make("Tiny"), tmp_path / "net.onnx", torch.randn(1, 3, 32, 32))
    assert "tolerance 1e-04, feed: random" in str(error.value)
    assert "nothing was written" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_layer_that_is_another_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_gradients", lambda *_: [("gradient", "fc", np.ones(3), np.array([1, 1, 1.1]))])
    with pytest.raises(ConversionError, match=r"gradient 'fc' of the float32 file differs .* by 5\.8e-02"):
        from_pytorch(torchnets.make("Tiny"), tmp_path / "net.onnx", torch.randn(1, 3, 32, 32))


class Rectifier:
    """A framework whose rectifier passes the gradient at zero, where ONNX's does not."""

    framework = "a framework"

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def example(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"x": np.concatenate([[0], 1 + rng.random(63)]).astype(np.float32)}

    def run(self, feeds: Any, layers: Any) -> dict[str, np.ndarray]:
        return {"y": np.maximum(feeds["x"], 0)}

    def gradients(self, feeds: Any, cotangents: Any, layers: Any) -> dict[str, np.ndarray]:
        return {"x": self.slope * cotangents["y"] * (feeds["x"] >= 0)}


def test_a_kink_is_no_difference_but_a_wrong_slope_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(verify.TOLERANCES["float32"], "input gradient", 1e-6)
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[64] x) => (float[64] y) { y = Relu(x) }'
    model = load(onnx.parser.parse_model(text))
    verifier = verify.Verifier(Rectifier(1.0), {})
    verifier.backward(model, [])
    (row,) = verifier.rows
    assert 1e-3 < row.relative < (row.tolerance or 0) <= 0.2
    with pytest.raises(ConversionError, match="input gradient 'x' of the float32 file differs from that"):
        verify.Verifier(Rectifier(1.5), {}).backward(model, [])


def test_a_source_that_returns_no_output_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[64] x) => (float[64] y) { y = Relu(x) }'
    monkeypatch.setattr(Rectifier, "run", lambda self, feeds, layers: {"z": feeds["x"]})
    with pytest.raises(ConversionError, match="a framework returned no output 'y', which the file has; it returned z"):
        verify.Verifier(Rectifier(1.0), {}).backward(load(onnx.parser.parse_model(text)), [])


def test_without_pytorch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(OnnxcamError, match=r'PyTorch cannot be imported .*; pip install "onnxcam\[torch\]"'):
        from_pytorch(object(), tmp_path / "net.onnx", None)


def test_the_input_that_nobody_says(onnxcam: Run) -> None:
    ran = onnxcam("export", f"{NETS}:Tiny", "-o", "net.onnx")
    assert ran.code == 0, ran.err
    assert "called with 1x3x224x224, as no input shape was given" in ran.err
