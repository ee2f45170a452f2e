"""Which vector holds the class scores, what its numbers are, and which vectors are no classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxcam import Explainer, Explanation
from onnxcam.bake.bake import bake
from onnxcam.errors import TargetError
from onnxcam.model.description import ModelDescription
from tests.zoo.convention import picture
from tests.zoo.trunk import BRIGHT, vector

PAIR = "w = Gemm<transB = 1>(v, g)"
ONES = ", ".join("1" * 96)
NAMES = {"labels": ["no", "yes"]}


def explained(tail: str, outputs: str, target: Any = None, extra: str = "", **options: Any) -> Explanation:
    made = vector(tail, outputs, extra=extra) if extra else vector(tail, outputs)
    return Explainer(made, preprocess="unit", **options)(picture(), target)


def task(tail: str, outputs: str, extra: str = "", said: str = "", labels: list[str] | None = None) -> str:
    made = vector(tail, outputs, extra=extra) if extra else vector(tail, outputs)
    told = {"task": said} if said else {}
    return ModelDescription(made, preprocess="unit", labels=labels, said=told).task.name


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often a model was run on the probe images."""
    found: list[int] = []
    sample = ModelDescription._samples

    def counted(self: ModelDescription) -> Any:
        found.append(1)
        return sample(self)

    monkeypatch.setattr(ModelDescription, "_samples", counted)
    return found


PROBABILITIES = {
    "behind a reshape": "w = Reshape(z, whole) s = Softmax<axis = 1>(w) y = Flatten(s)",
    "clipped": "s = Softmax(z) y = Clip(s, least, one)",
    "exp over sum": "e = Exp(z) s = ReduceSum(e, axis) y = Div(e, s)",
    "exp of log softmax": "s = LogSoftmax(z) y = Exp(s)",
    "twice": "s = Softmax(z) y = Softmax(s)",
    "sigmoid of exp": "n = Neg(z) e = Exp(n) d = Add(e, one) y = Reciprocal(d)",
    "1 over": "n = Neg(z) e = Exp(n) d = Add(one, e) y = Div(one, d)",
}
MEASURED = {
    "exp by its norm": "e = Exp(z) y = LpNormalization<axis = 1, p = 1>(e)",
    "mean of two": "s = Softmax(z) n = Add(z, b) m = Softmax(n) a2 = Add(s, m) y = Mul(a2, half)",
    "half a tanh": "h = Mul(z, half) e = Tanh(h) d = Add(e, one) y = Mul(d, half)",
    "without the first": "s = Softmax(z) y = Slice(s, axis, end, axis)",
}


@pytest.mark.parametrize("tail", [*PROBABILITIES, *MEASURED])
def test_probabilities_are_the_numbers_themselves(tail: str, runs: list[int]) -> None:
    body = {**PROBABILITIES, **MEASURED}[tail]
    width = 5 if tail == "without the first" else 6
    found = explained(body, f"float[N, {width}] y", extra="float least = {1e-7}, int64[1] end = {6}")
    assert found.probability == pytest.approx(float(found.outputs["y"].max()), abs=1e-6)
    assert len(runs) == (tail in MEASURED)


@pytest.mark.parametrize("tail", ["s = Softmax(z) y = Log(s)", "s = ReduceLogSumExp(z, axis) y = Sub(z, s)"])
def test_logarithms_of_probabilities(tail: str) -> None:
    found = explained(tail, "float[N, 6] y")
    assert found.probability == pytest.approx(float(np.exp(found.outputs["y"].max())), abs=1e-6)


def test_a_linear_layer_needs_no_run(runs: list[int]) -> None:
    for tail in ("y = Identity(z)", "n = Mul(z, half) y = Add(n, b)", "y = Softmax(z)"):
        explained(tail, "float[N, 6] y")
    assert not runs


@pytest.mark.parametrize("head", ["softmax", "nothing"])
@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        ("scores, indices = TopK(HEAD, five)", "float[N, 5] scores, int64[N, 5] indices"),
        ("values, indices = TopK(HEAD, five) label = Cast<to = 6>(indices)", "int32[N, 5] label"),
        ("label = ArgMax<axis = 1, keepdims = 0>(HEAD)", "int64[N] label"),
        ("i = ArgMax<axis = 1>(HEAD) label = Cast<to = 1>(i)", "float[N, 1] label"),
        ("confidence = ReduceMax<keepdims = 0>(HEAD, axis)", "float[N] confidence"),
        ("y = Hardmax<axis = 1>(HEAD)", "float[N, 6] y"),
        ("t5, i5 = TopK(HEAD, five) y = Softmax(t5)", "float[N, 5] y"),
        ("t5, i5 = TopK(HEAD, five) y = GatherElements<axis = 1>(HEAD, i5)", "float[N, 5] y"),
        ("m = ReduceMax(HEAD, axis) q = Equal(HEAD, m) y = Cast<to = 1>(q)", "float[N, 6] y"),
        ("m = ReduceMax(HEAD, axis) y = Mul(m, half)", "float[N, 1] y"),
        ("i = ArgMax<axis = 1, keepdims = 0>(HEAD) name = Gather(b, i)", "float[N] name"),
    ],
)
def test_the_scores_are_behind_ranks(tail: str, outputs: str, head: str) -> None:
    softmax = "s = Softmax(z)" if head == "softmax" else "s = Identity(z)"
    found = explained(f"{softmax} {tail.replace('HEAD', 's')}", outputs)
    plain = explained(f"{softmax} y = Identity(s)", "float[N, 6] y")
    assert found.target == BRIGHT
    assert found.probability == pytest.approx(plain.probability)
    np.testing.assert_allclose(found.map, plain.map, atol=1e-6)


def test_the_least_score_is_no_rank_of_scores() -> None:
    assert task("label = ArgMin<axis = 1, keepdims = 0>(z)", "int64[N] label") == "a model"


def test_as_many_classes_of_ranks_as_wished() -> None:
    made = vector("s = Softmax(z) v5, i5 = TopK(s, five)", "float[N, 5] v5, int64[N, 5] i5")
    explainer = Explainer(made, preprocess="unit")
    targets = [one.target for one in explainer.best(picture(), 3)]
    assert targets[0] == BRIGHT
    assert len({*targets}) == 3
    x = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    assert explainer.probabilities(x, 0).shape == (2,)


@pytest.mark.parametrize("columns", ["4", "16", "6, 2"])
def test_candidates_are_no_classes(columns: str) -> None:
    tail = "y = Reshape(z, one_each) l0 = Reshape(boxes, places) l = Add(l0, t0)"
    extra = (
        f"float[96] boxes = {{{ONES}}}, int64[3] one_each = {{-1, 6, 1}}, "
        f"int64[{2 + columns.count(',') + 1}] places = {{-1, 6, {columns}}}"
    )
    count = int(np.prod([int(n) for n in columns.split(",")])) * 6
    extra = extra.replace(f"float[96] boxes = {{{ONES}}}", f"float[{count}] boxes = {{{', '.join('1' * count)}}}")
    tail = tail.replace(" l = Add(l0, t0)", " l = Identity(l0)")
    assert task(tail, f"float[N, 6, 1] y, float[1, 6, {columns}] l", extra) != "a classifier"


def test_a_vector_that_does_not_depend_on_the_picture_is_no_scores() -> None:
    extra = "float nothing = {0}, float[1, 9] fixed = {1, 2, 3, 4, 5, 6, 7, 8, 9}"
    found = explained("c9 = Identity(fixed) y = Identity(z)", "float[1, 9] c9, float[N, 6] y", extra=extra)
    assert found.target == BRIGHT
    found = explained("c2 = Mul(v, nothing) y = Identity(z)", "float[N, 2] c2, float[N, 6] y", extra=extra)
    assert found.target == BRIGHT


@pytest.mark.parametrize(
    ("tail", "outputs", "scores"),
    [
        ("o1 = Identity(v) o2 = Softmax(z)", "float[N, 2] o1, float[N, 6] o2", "o2"),
        ("o1 = Sigmoid(v) o2 = Softmax(z)", "float[N, 2] o1, float[N, 6] o2", "o2"),
        ("gate = Sigmoid(v) logits = Identity(z)", "float[N, 2] gate, float[N, 6] logits", "logits"),
        ("logits = Identity(z) probs = Softmax(z)", "float[N, 6] logits, float[N, 6] probs", "probs"),
        ("aux_logits = Identity(z) logits = Add(z, b)", "float[N, 6] aux_logits, float[N, 6] logits", "logits"),
        ("bbox = Identity(v) cls = Identity(z)", "float[N, 2] bbox, float[N, 6] cls", "cls"),
        ("embedding = Identity(v) out = Identity(z)", "float[N, 2] embedding, float[N, 6] out", "out"),
    ],
)
def test_of_several_vectors_the_likeliest_is_taken_and_said(tail: str, outputs: str, scores: str) -> None:
    explainer = Explainer(vector(tail, outputs), preprocess="unit")
    (part,) = [part for part in explainer.reading if part.name == "scores"]
    assert part.value.startswith(f"{scores!r}, 6 ")
    assert "scores_output names another" in part.value
    assert explainer(picture()).target == BRIGHT


def test_what_the_user_says_outranks_all() -> None:
    tail, outputs = "features = Identity(v) logits = Identity(z)", "float[N, 2] features, float[N, 6] logits"
    made = Explainer(vector(tail, outputs), preprocess="unit", scores_output="features")
    assert made.class_count == 2
    assert {part.source for part in made.reading if part.name in ("task", "scores")} == {"user"}
    with pytest.raises(TargetError, match=r"the model has no output 'z' for scores"):
        Explainer(vector(tail, outputs), scores_output="z")


def test_the_number_of_names_decides() -> None:
    tail, outputs = "o1 = Identity(v) o2 = Identity(z)", "float[N, 2] o1, float[N, 6] o2"
    assert Explainer(vector(tail, outputs), labels=["x"] * 6).class_count == 6
    assert Explainer(vector(tail, outputs), labels=["x"] * 2).class_count == 2


TWO = {
    "a sigmoid": (f"{PAIR} y = Sigmoid(w)", "float[N, 1] y", 1),
    "one for each picture": (f"{PAIR} q = Sigmoid(w) y = Squeeze(q, axis)", "float[N] y", 1),
    "a score": (f"{PAIR} y = Identity(w)", "float[N, 1] y", 1),
    "1 - p, p": (f"{PAIR} q = Sigmoid(w) n = Sub(one, q) y = Concat<axis = 1>(n, q)", "float[N, 2] y", 1),
    "p, 1 - p": (f"{PAIR} q = Sigmoid(w) n = Sub(one, q) y = Concat<axis = 1>(q, n)", "float[N, 2] y", 0),
}


@pytest.mark.parametrize("form", TWO)
def test_one_number_of_two_named_classes(form: str) -> None:
    tail, outputs, positive = TWO[form]
    number = float(explained(f"{PAIR} y = Sigmoid(w)", "float[N, 1] y").probability or 0)
    assert number > 0.5
    best = explained(tail, outputs, signed=True, **NAMES)
    assert (best.target, best.label) == (positive, NAMES["labels"][positive])
    assert best.probability == pytest.approx(number, abs=1e-6)
    other = explained(tail, outputs, NAMES["labels"][1 - positive], signed=True, **NAMES)
    assert other.probability == pytest.approx(1 - number, abs=1e-6)
    assert other.score == pytest.approx(-best.score)
    np.testing.assert_allclose(other.raw, -best.raw, atol=1e-6)
    contrast = explained(tail, outputs, f"{NAMES['labels'][positive]}-{NAMES['labels'][1 - positive]}", **NAMES)
    assert contrast.score == pytest.approx(2 * best.score)


def test_one_sigmoid_without_names_is_one_class() -> None:
    found = explained(f"{PAIR} y = Sigmoid(w)", "float[N, 1] y")
    assert found.target == 0
    assert found.probability == pytest.approx(float(found.outputs["y"][0, 0]))


@pytest.mark.parametrize(
    ("tail", "outputs"),
    [
        (f"{PAIR} y = Identity(w)", "float[N, 1] y"),
        (f"{PAIR} age = Relu(w)", "float[N, 1] age"),
        (f"{PAIR} age = Sigmoid(w)", "float[N, 1] age"),
        ("landmarks = Identity(z)", "float[N, 6] landmarks"),
        ("pose = Sigmoid(z)", "float[N, 6] pose"),
        (f"{PAIR} y = Squeeze(w, axis)", "float[N] y"),
    ],
)
def test_numbers_are_no_classes(tail: str, outputs: str) -> None:
    found = explained(tail, outputs)
    assert found.target is None
    assert found.probability is None
    assert "no class" in found.note
    again = explained(tail, outputs, found.words)
    np.testing.assert_allclose(again.raw, found.raw, atol=1e-6)
    assert task(tail, outputs, said="multi-class") == "a classifier"


def test_an_age_of_many_columns_is_a_class() -> None:
    assert task("age = Identity(z)", "float[N, 6] age") == "a classifier"


@pytest.mark.parametrize("name", ["image_embeds", "pooler_output", "features", "face_embedding", "last_hidden_state"])
def test_vectors_with_the_name_of_an_embedding(name: str) -> None:
    assert task(f"{name} = Identity(z)", f"float[N, 6] {name}") == "an embedding"
    assert task(f"{name} = Identity(z)", f"float[N, 6] {name}", said="multi-class") == "a classifier"
    assert task(f"{name} = Identity(z)", f"float[N, 6] {name}", labels=list("abcdef")) == "a classifier"


def test_an_embedding_that_is_zero_without_a_picture_asks_for_one() -> None:
    with pytest.raises(TargetError, match=r"'image_embeds' is an embedding without classes.*like=FILE"):
        explained("image_embeds = Identity(v)", "float[N, 2] image_embeds")


def test_tokens_are_compared_by_their_mean(tmp_path: Any) -> None:
    extra = "int64[3] tokens = {0, 2, -1}"
    tail = "q = Reshape(p, tokens) h = Transpose<perm = [0, 2, 1]>(q) last_hidden_state = Add(h, one)"
    mean = f"{tail.replace('last_hidden_state', 'e')} embedding = ReduceMean<keepdims = 0>(e, axis)"
    found = explained(tail, "float[N, 256, 2] last_hidden_state", extra=extra, method="gradient")
    same = explained(mean, "float[N, 2] embedding", extra=extra, method="gradient")
    assert found.score == pytest.approx(same.score, abs=1e-6)
    np.testing.assert_allclose(found.raw, same.raw, atol=1e-6)


def test_a_number_above_one_is_no_probability() -> None:
    tail = "s = Sigmoid(z) q = QuantizeLinear(s, scale, zero) y = DequantizeLinear(q, scale, zero)"
    found = explained(tail, "float[N, 6] y", extra="float scale = {1.25}, uint8 zero = {0}")
    assert found.probability in (None, 0)
    assert found.probability is not None or any("no probability" in warning for warning in found.warnings)


def test_a_named_element_beside_towers() -> None:
    tail = (
        "image_embeds = Identity(z) text_embeds = Identity(words) tt = Transpose(words) "
        "logits_per_image = MatMul(z, tt) logits_per_text = Transpose(logits_per_image)"
    )
    outputs = (
        "float[N, M] logits_per_image, float[M, N] logits_per_text, float[2, 6] text_embeds, float[N, 6] image_embeds"
    )
    extra = "float[2, 6] words = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}"
    found = explained(tail, outputs, "logits_per_image[0, 1]", extra=extra)
    assert found.words == "logits_per_image[0, 1]"
    assert found.map.max() > 0


def test_the_scores_of_ranks_can_be_baked(tmp_path: Any) -> None:
    made = vector("s = Softmax(z) label = ArgMax<axis = 1, keepdims = 0>(s)", "int64[N] label")
    baked = bake(made, tmp_path / "baked.onnx", preprocess="unit")
    assert "s" in baked.outputs
    assert onnx.load(tmp_path / "baked.onnx").graph.output[0].name == "label"
