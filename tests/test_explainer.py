"""An explainer as an object: its arguments are fixed, it prints, hashes, copies and pickles."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxcam import Explainer, explain
from onnxcam.errors import GuessWarning, MethodError, ModelError
from onnxcam.explainer.options import Options
from onnxcam.graph.io import load
from tests.networks import HAND_X, hand_model

OPTIONS = [name for name in inspect.signature(Explainer).parameters if name != "model"]
FORMS = {
    "path": lambda path: str(path),
    "Path": lambda path: path,
    "bytes": lambda path: path.read_bytes(),
    "ModelProto": lambda path: onnx.load(path),
    "onnx_ir": lambda path: load(path),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    onnx.save(hand_model(), tmp_path / "hand.onnx")
    return tmp_path / "hand.onnx"


@pytest.mark.parametrize("name", ["model", *OPTIONS, "network", "unknown"])
def test_arguments_are_fixed(name: str) -> None:
    explainer = Explainer(hand_model())
    before = explainer.attribute(HAND_X, 0)
    with pytest.raises(FrozenInstanceError, match=rf"Explainer\.{name} is fixed.*explainer\.replace\({name}=") as error:
        setattr(explainer, name, "fem")
    assert "\n" not in str(error.value)
    with pytest.raises(FrozenInstanceError, match="is fixed"):
        delattr(explainer, name)
    assert (explainer.method, explainer.layer) == ("gradcam", None)
    np.testing.assert_array_equal(explainer.attribute(HAND_X, 0), before)


@pytest.mark.parametrize("name", ["settings", "inputs"])
def test_mappings_are_fixed_too(name: str) -> None:
    given: dict[str, Any] = {}
    explainer = Explainer(hand_model(), **{name: given})  # type: ignore[arg-type]
    given["later"] = 1
    assert dict(getattr(explainer, name)) == {}
    with pytest.raises(TypeError):
        getattr(explainer, name)["later"] = 1


def test_replace_returns_another_explainer() -> None:
    explainer = Explainer(hand_model(), "integrated-gradients", settings={"steps": 3})
    other = explainer.replace(method="fem", settings={}, target=1)
    assert (explainer.method, other.method, other.target) == ("integrated-gradients", "fem", 1)
    assert explainer.replace(target=1).settings == {"steps": 3}
    expected = Explainer(hand_model(), "fem").attribute(HAND_X, 1)
    np.testing.assert_array_equal(other.attribute(HAND_X), expected)


def test_replace_refuses_what_a_new_one_would() -> None:
    with pytest.raises(MethodError, match="no method is called 'fen'"):
        Explainer(hand_model()).replace(method="fen")
    with pytest.raises(TypeError, match="methd"):
        Explainer(hand_model()).replace(methd="fem")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Explainer({}, method='gradcam')"),
        ({"method": "fem", "target": 1, "signed": True}, "Explainer({}, method='fem', target=1, signed=True)"),
        ({"method": "rise", "settings": {"samples": 9}}, "Explainer({}, method='rise', settings={{'samples': 9}})"),
    ],
)
def test_repr_is_one_short_line(path: Path, options: dict[str, Any], text: str) -> None:
    big = onnx.ModelProto()
    big.CopyFrom(hand_model())
    big.doc_string = "x" * 1_000_000
    shown = {"model": repr(Explainer(big, **options)), "bytes": repr(Explainer(big.SerializeToString(), **options))}
    assert shown["model"] == text.format("<ModelProto>")
    assert shown["bytes"] == text.format(f"<{len(big.SerializeToString())} bytes>")
    assert "hand.onnx'" in repr(Explainer(path, **options))


def test_repr_stays_short_and_on_one_line() -> None:
    names = [f"a long\nname of class {number}" for number in range(2)]
    explainer = Explainer(hand_model(), labels=names, preprocess=lambda image: HAND_X)
    assert "\n" not in repr(explainer)
    assert len(repr(explainer)) < 300


def test_hash_and_equality_are_those_of_the_object() -> None:
    first, second = Explainer(hand_model()), Explainer(hand_model())
    assert len({first, second, first}) == 2
    assert first == first
    assert first != second


@pytest.mark.parametrize("form", FORMS)
def test_pickle_builds_the_session_again(path: Path, form: str) -> None:
    explainer = Explainer(FORMS[form](path), "smoothgrad", target=1, settings={"samples": 3, "seed": 5})
    loaded = pickle.loads(pickle.dumps(explainer))
    assert loaded._runner is not explainer._runner
    assert (loaded.method, loaded.target, dict(loaded.settings)) == ("smoothgrad", 1, {"samples": 3, "seed": 5})
    np.testing.assert_array_equal(loaded.attribute(HAND_X), explainer.attribute(HAND_X))


def test_a_copy_is_built_again() -> None:
    explainer = Explainer(hand_model(), "fem")
    for other in (copy.copy(explainer), copy.deepcopy(explainer)):
        assert other is not explainer
        np.testing.assert_array_equal(other.attribute(HAND_X, 0), explainer.attribute(HAND_X, 0))


def test_options_are_the_arguments() -> None:
    known = {name: kind.__forward_arg__ for name, kind in Options.__annotations__.items()}
    own = Explainer.__annotations__
    assert list(known) == OPTIONS
    assert known == {name: own[name] for name in OPTIONS}


def test_explain_takes_the_same_options() -> None:
    photo = np.zeros((2, 2, 3), np.uint8)
    explanation = explain(hand_model(), photo, method="fem", target=1, preprocess=lambda image: HAND_X)
    assert (explanation.method, explanation.target) == ("fem", 1)


def test_a_model_of_onnx_ir_stays_the_callers() -> None:
    model = load(hand_model())
    assert isinstance(model, ir.Model)
    assert Explainer(model).model is model


@pytest.mark.parametrize("x", [HAND_X[0], np.float32(1), HAND_X[None]])
def test_a_tensor_of_another_rank_is_refused(x: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"the model takes 'x' \[n,1,2,2\], not an array \[.*\]; give a batch"):
        Explainer(hand_model()).attribute(x, 0)


@pytest.mark.parametrize("several", [["a", "c"], ("a", "c")])
def test_several_layers_are_a_list_or_words(several: Any) -> None:
    explainer, expected = Explainer(hand_model(), layer=several), Explainer(hand_model(), layer="a,c")
    assert explainer.layer == ("a", "c")
    np.testing.assert_array_equal(explainer.attribute(HAND_X, 0), expected.attribute(HAND_X, 0))
    assert hash(explainer) == hash(explainer)


def test_a_guess_of_the_preprocessing_is_said_once_in_python() -> None:
    model = hand_model()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    explainer = Explainer(model)
    with pytest.warns(GuessWarning, match=r"the preprocessing is a guess \(.*\): state it \(preprocess=\)") as caught:
        [explainer(np.zeros((2, 2, 3), np.uint8), target=1) for _ in range(2)]
    assert [Path(one.filename).name for one in caught] == ["test_explainer.py"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Explainer(model, preprocess="raw")(np.zeros((2, 2, 3), np.uint8), target=1)
