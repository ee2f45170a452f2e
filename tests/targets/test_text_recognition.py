"""Text recognisers: γ and log p against PyTorch's CTC."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from onnxcam.errors import TargetError
from onnxcam.targets.ctc import occupancy
from onnxcam.targets.text_recognition import TextRecognition
from tests.optional import torch
from tests.targets.opened import Opened

RNG = np.random.default_rng(0)
FRAMES = 8
ALPHABET = ["", "A", "B", "C", " "]


@pytest.mark.parametrize("blank", [0, 4])
@pytest.mark.parametrize("text", [[1], [1, 2, 3], [2, 2], [1, 2, 2, 1], [3, 3, 3, 3]])
def test_gamma_is_the_derivative_of_log_p(text: list[int], blank: int) -> None:
    """∂ log p / ∂ log y_t(k) = γ_t(k), summed over the states of letter k; in float64."""
    letters = [letter if blank == 0 else letter - 1 for letter in text]
    logs = torch.log_softmax(torch.from_numpy(RNG.standard_normal((FRAMES, 5)) * 2), 1).requires_grad_()
    loss = torch.nn.functional.ctc_loss(
        logs[:, None], torch.tensor([letters]), [FRAMES], [len(letters)], blank=blank, reduction="sum"
    )
    # PyTorch's CTC gives the derivative by the logits of the softmax: γ − y; so that of −log p is y − γ.
    loss.backward()
    assert logs.grad is not None
    states = occupancy(logs.detach().numpy(), letters, blank)
    assert states is not None
    np.testing.assert_allclose(states.sum(axis=1), 1, rtol=1e-10)
    gamma = np.zeros((FRAMES, 5))
    for state, letter in enumerate([blank, *(one for each in letters for one in (each, blank))]):
        gamma[:, letter] += states[:, state]
    np.testing.assert_allclose(-logs.grad.numpy() + logs.exp().detach().numpy(), gamma, rtol=1e-6, atol=1e-9)


def test_log_p_is_the_sum_over_all_paths() -> None:
    """−log p of PyTorch, and γ from a sum over every path of four frames."""
    from itertools import product

    logs = torch.log_softmax(torch.from_numpy(RNG.standard_normal((4, 3))), 1)
    letters = [1, 1]
    paths = []
    for path in product(range(3), repeat=4):
        kept = [k for t, k in enumerate(path) if k != 0 and (t == 0 or path[t - 1] != k)]
        if kept == letters:
            paths.append(path)
    chances = np.array([float(torch.exp(sum(logs[t, k] for t, k in enumerate(path)))) for path in paths])
    loss = torch.nn.functional.ctc_loss(logs[:, None], torch.tensor([letters]), [4], [2], reduction="sum")
    assert -np.log(chances.sum()) == pytest.approx(float(loss))
    states = occupancy(logs.numpy(), letters, 0)
    assert states is not None
    for t in range(4):
        share = sum(chance for path, chance in zip(paths, chances, strict=True) if path[t] == 1) / chances.sum()
        assert states[t, [1, 3]].sum() == pytest.approx(share)


def reader(time_first: bool, softmax: bool = False, letters: list[str] | None = None) -> onnx.ModelProto:
    """Columns of the image are frames, its rows letters."""
    alphabet = letters or ALPHABET
    last = "s = Softmax<axis = 2>(r)" if softmax else "s = Identity(r)"
    turned, shape = (
        ("y = Transpose<perm = [1, 0, 2]>(s)", "[8, n, 5]") if time_first else ("y = Identity(s)", "[n, 8, 5]")
    )
    model = onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    reader (float[n, 1, 5, 8] x) => (float{shape} y)
    <int64[1] one = {{1}}>
    {{ f = Squeeze(x, one) r = Transpose<perm = [0, 2, 1]>(f) {last} {turned} }}
    """)
    onnx.helper.set_model_props(model, {"onnxcam": json.dumps({"schema": 1, "task": "text", "labels": alphabet})})
    return model


def written(path: str, letters: list[str] | None = None) -> np.ndarray:
    """x [1, 1, 5, 8] in which each frame shows a letter of *path*; a dot is the blank."""
    x = RNG.standard_normal((1, 1, 5, 8)).astype(np.float32) * 0.1
    for t, letter in enumerate(path):
        x[0, 0, (letters or ALPHABET).index("" if letter == "." else letter), t] += 4
    return x


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("time_first", [False, True])
def test_what_is_read_is_explained(time_first: bool, softmax: bool) -> None:
    opened, x = Opened(reader(time_first, softmax)), written("A.BB.B C")
    assert isinstance(opened.network.task, TextRecognition)
    goal = opened.goal(None, x)
    assert (goal.label, goal.words, goal.note) == ("ABB C", 'text="ABB C"', "what the model reads, 'ABB C'")
    np.testing.assert_array_equal(opened.goal(goal.words, x).feed, goal.feed)
    each = [opened.goal(f'text="ABB C" at={at}', x).feed for at in range(5)]
    np.testing.assert_allclose(sum(each), goal.feed, atol=1e-6)
    assert [int(feed.sum(axis=1).argmax()) for feed in each] == pytest.approx([0, 2, 5, 6, 7], abs=1)
    gradient = opened.gradient(goal, x)  # of the scores before softmax, γ held
    np.testing.assert_allclose(gradient[0, 0].T, goal.feed, rtol=1e-5, atol=1e-7)


def test_the_blank_is_where_the_alphabet_has_it() -> None:
    letters = ["A", "B", "C", " ", ""]
    opened = Opened(reader(False, letters=letters))
    assert isinstance(opened.network.task, TextRecognition)
    assert opened.network.task.blank == 4
    assert opened.goal(None, written("A.BB.B C", letters)).label == "ABB C"


ERRORS = [
    ("text=AX", r"text 'AX': 'X' is not in the model's alphabet, 'ABC '"),
    ("text=AB at=2", "text 'AB' has no character 2; they are counted from 0"),
    ("text=ABCABCABC", "text 'ABCABCABC' is too long: 9 characters do not fit into 8 frames"),
    ("text=AAAAA", "text 'AAAAA' is too long: 5 characters do not fit into 8 frames"),
    ('text=""', "there is no letter in the text; name some with text="),
    ("281-285", "target '281-285' does not apply to a text recogniser"),
]


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_errors(words: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        Opened(reader(False)).goal(words, written("A.BB.B C"))


def test_nothing_is_read() -> None:
    with pytest.raises(TargetError, match="the model reads no letter in this image; name one with text="):
        Opened(reader(False)).goal(None, written("........"))
