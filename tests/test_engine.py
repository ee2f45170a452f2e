"""Sessions, providers, and ONNX Runtime's errors in our words."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import pytest

from onnxcam import Explainer
from onnxcam.engine import Session, provider_name
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


def test_a_failed_run_is_told_in_one_line() -> None:
    with pytest.raises(EngineError, match="ONNX Runtime failed: ") as error:
        Session(load(hand_model())).run({"x": HAND_X[:, :, :1]})
    assert "\n" not in str(error.value)


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
