"""Sessions, providers, and ONNX Runtime's errors in our words."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from onnxcam import Explainer
from onnxcam.engine import Session, _failure, provider_name
from onnxcam.errors import EngineError, ProviderError
from onnxcam.graph.io import load
from tests.networks import HAND_X, hand_model

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def test_auto_takes_what_is_there() -> None:
    session = Session(load(hand_model()))
    assert session.provider in ("CPUExecutionProvider", "CUDAExecutionProvider")
    np.testing.assert_allclose(session.run({"x": HAND_X})["logits"], [[0.5, 4.5]])


def test_idle_threads_may_sleep() -> None:
    for spin, entry in ((True, ""), (False, "0")):
        session = Session(load(hand_model()), spin=spin)
        options = session._session.get_session_options()
        try:
            found = options.get_session_config_entry("session.intra_op.allow_spinning")
        except RuntimeError:  # so it says that there is none
            found = ""
        assert found == entry
        np.testing.assert_allclose(session.run({"x": HAND_X})["logits"], [[0.5, 4.5]])


def test_a_session_for_one_run_packs_no_weights_and_keeps_no_memory() -> None:
    options = Session(load(hand_model()), optimize=False)._session.get_session_options()
    assert options.get_session_config_entry("session.disable_prepacking") == "1"
    assert not options.enable_cpu_mem_arena
    assert Session(load(hand_model()))._session.get_session_options().enable_cpu_mem_arena


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_names_of_providers(name: str) -> None:
    assert provider_name(name) == "CPUExecutionProvider"


def test_a_provider_that_is_not_there() -> None:
    with pytest.raises(ProviderError, match=r"no execution provider 'coda'.*there is auto, cpu.*Did you mean 'cuda'"):
        Session(load(hand_model()), "coda")


def test_a_refused_model_is_told_in_one_line() -> None:
    model = hand_model()
    model.graph.node[0].attribute.add(name="group", type=2, i=5)
    with pytest.raises(EngineError, match="ONNX Runtime") as error:
        Session(load(model)).run({"x": HAND_X})
    assert "\n" not in str(error.value)


def of_text(body: str) -> ir.Model:
    opsets = '"" : 17, "unknown" : 1'
    return ir.serde.deserialize_model(onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{opsets}]> g {body}"))


def test_a_refused_model_says_what_to_do() -> None:
    with pytest.raises(EngineError) as error:
        Session(of_text("(float[2, 3] x, float[4, 5] z) => (float[n, k] y) { a = Identity(x) y = MatMul(a, z) }"))
    assert "Incompatible dimensions for matrix multiplication" in str(error.value)
    assert str(error.value).endswith("; export the model again")


def test_an_unknown_operator_says_how_to_register_it() -> None:
    with pytest.raises(EngineError, match=r"unknown:Op.*register_custom_ops\)$"):
        Session(of_text("(float[n] x) => (float[n] y) { y = unknown.Op(x) }"))


def test_a_failed_run_is_told_in_one_line() -> None:
    with pytest.raises(EngineError, match="ONNX Runtime failed: ") as error:
        Session(load(hand_model())).run({"x": HAND_X[:, :, :1]})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({"x": HAND_X[:, :0]}, "index: 1 Got: 0 Expected: 1; the model takes 'x' tensor(float) [n, 1, 2, 2]"),
        ({"x": HAND_X[:, :, :1]}, "index: 2 Got: 1 Expected: 2; the model takes 'x'"),
        ({"x": HAND_X[0]}, "Invalid rank for input: x Got: 3 Expected: 4; the model takes 'x'"),
        ({"x": HAND_X.astype(np.float64)}, "tensor(double)) , expected: (tensor(float)); the model takes 'x'"),
        ({}, "Required inputs (['x']) are missing from input feed ([]); the model takes 'x'"),
    ],
)
def test_a_failed_run_says_what_was_given_and_what_is_taken(feeds: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(EngineError) as error:
        Session(load(hand_model()), "cpu").run(feeds)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


RESHAPE = "(float[n, k] x, int64[m] i) => (float[a, b] y) { z = Identity(x) y = Reshape(z, i) }"


def test_a_failed_node_keeps_its_reason_and_loses_onnx_runtimes_source() -> None:
    feeds = {"x": np.zeros((2, 2), np.float32), "i": np.asarray([1, 3])}
    with pytest.raises(EngineError, match="Reshape node ") as error:
        Session(of_text(RESHAPE), "cpu").run(feeds)
    assert "cannot be reshaped to the requested shape. Input shape:{2,2}, requested shape:{1,3}" in str(error.value)
    assert not any(word in str(error.value) for word in ("onnxruntime::", ".h:", "Non-zero status", "\n"))


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ((3,), "Mul in the gradient: "),
        ((3, 2), "the target has 2 axes in this run, and 1 by the file"),
    ],
)
def test_what_onnxcam_added_is_not_named(weights: tuple[int, ...], says: str) -> None:
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[a] x, float[b] weights) => (float[c] y) { y = Mul(x, weights) }
    """)
    model.graph.input[1].name = model.graph.node[0].input[1] = "onnxcam.weights"
    model.graph.node[0].name = "onnxcam.Mul_3"
    feeds = {"x": np.zeros(2, np.float32), "onnxcam.weights": np.zeros(weights, np.float32)}
    with pytest.raises(EngineError, match=says) as error:
        Session(load(model), "cpu").run(feeds)
    assert "onnxcam." not in str(error.value)
    assert str(error.value).endswith("correct the declared shapes, or export the model again")


def test_out_of_memory_says_what_to_do() -> None:
    error = RuntimeError(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. "
        "Name:'c1' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
        "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate memory "
        "for requested buffer of size 9\nStacktrace:\n#0 there\n"
    )
    assert _failure(error, ()) == (
        "Conv node 'c1': Failed to allocate memory for requested buffer of size 9; use a smaller batch_size, or "
        "--provider cpu"
    )


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ProviderError, match=r"pip install 'onnxcam\[cpu\]'"):
        Session(load(hand_model()))


def test_only_what_is_asked_for() -> None:
    assert list(Session(load(hand_model())).run({"x": HAND_X}, ["logits"])) == ["logits"]


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device and onnxruntime-gpu")
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "guided-gradcam", "gradient"])
def test_cuda_gives_the_same_map(method: str) -> None:
    maps = [Explainer(hand_model(), method=method, provider=p).attribute(HAND_X, 0) for p in ("cuda", "cpu")]
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-5)
