"""Conventions of text recognisers trained by CTC, and where their letters are written."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx

from onnxcam import Explainer, Explanation
from tests.zoo.convention import Convention
from tests.zoo.networks import bright

__all__ = ["CONVENTIONS"]

LETTERS = list("0123456789ABCDEF")
SPOKEN = "8"
"""The letter that a bright column means."""


def reader(
    output: str,
    last: str,
    letters: int,
    place: int,
    blank: int = 0,
    size: tuple[object, object] = (64, 64),
    **metadata: str,
) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network that reads letter *place* where a column is bright, else the *blank*.

    It has scores `z` [N, 16, letters] of a frame for every four columns, and what follows.
    """
    columns = np.full((2, letters), -3, np.float32)
    columns[:, place] = 40, 0
    columns[:, blank] = 0, 0
    bias = np.full(letters, -2, np.float32)
    bias[blank] = 2

    def make() -> onnx.ModelProto:
        head = f"""
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
            h = ReduceMean<axes = [2], keepdims = 0>(p)
            u = Transpose<perm = [0, 2, 1]>(h)
            m = MatMul(u, columns)
            z = Add(m, bias)
            {last}
        """
        model = bright(output, head, columns=columns, bias=bias, size=size)
        onnx.helper.set_model_props(model, metadata)
        return model

    return make


def reads(text: str) -> Callable[[Explainer, Explanation], None]:
    """Return a check of the text that is read."""

    def check(explainer: Explainer, found: Explanation) -> None:
        assert found.label == text

    return check


def row(
    name: str, producer: str, users: str, signature: str, make: Callable[[], onnx.ModelProto], **rest: object
) -> Convention:
    """Return a convention of a text recogniser that reads `SPOKEN`."""
    given = {"check": reads(SPOKEN), **rest}
    return Convention(name, producer, users, signature, make, "a text recogniser", **given)  # type: ignore[arg-type]


def nameless(make: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    """Return the maker of the same model whose open lengths have no names."""

    def made() -> onnx.ModelProto:
        model = make()
        for value in (*model.graph.input, *model.graph.output):
            for length in value.type.tensor_type.shape.dim:
                if length.dim_param:
                    length.Clear()
        return model

    return made


PADDLE = len(LETTERS) + 2
"""PaddleOCR's scores: the blank, the letters, a space."""
SOFTMAX = "y = Softmax<axis = 2>(z)"
TURNED = "y = Transpose<perm = [1, 0, 2]>(z)"

CONFIGURATION = """Global:
  model_name: PP-OCRv5_mobile_rec
PostProcess:
  name: CTCLabelDecode
  character_dict:
""" + "".join(f"  - '{letter}'\n" for letter in LETTERS)

CONVENTIONS = [
    row(
        "ppocr-rec-character",
        "Paddle2ONNX",
        "text recognition of PP-OCR v3 and v4 as RapidOCR ships it",
        "softmax [N, T, letters + 2]; metadata: character, one letter on each line",
        reader(f"float[N, 16, {PADDLE}] y", SOFTMAX, PADDLE, 9, character="\n".join(LETTERS)),
        parts={"letters": "18 with the blank at 0"},
    ),
    row(
        "ppocr-rec-character-open",
        "Paddle2ONNX",
        "the same with an open width, and a line break at the end of the letters",
        "softmax [N, T, letters + 2], T open",
        reader(f"float[N, T, {PADDLE}] y", SOFTMAX, PADDLE, 9, size=(64, "W"), character="\n".join([*LETTERS, ""])),
        parts={"letters": "18 with the blank at 0"},
    ),
    row(
        "ppocr-rec-nameless",
        "Paddle2ONNX",
        "the same as the rapidocr package has it: no open length has a name",
        "softmax [?, ?, letters + 2] of x [?, 3, 64, ?]",
        nameless(reader(f"float[N, T, {PADDLE}] y", SOFTMAX, PADDLE, 9, size=(64, "W"), character="\n".join(LETTERS))),
        parts={"letters": "18 with the blank at 0"},
    ),
    row(
        "ppocr-rec-dict",
        "Paddle2ONNX",
        "PP-OCR v5 with its dictionary beside it",
        "fetch_name_0 [N, T, letters + 2]; en_dict.txt",
        reader(f"float[N, 16, {PADDLE}] y", SOFTMAX, PADDLE, 9),
        files={"en_dict.txt": "\n".join(LETTERS) + "\n"},
        parts={"letters": "18 with the blank at 0"},
    ),
    row(
        "ppocr-rec-without-space",
        "Paddle2ONNX",
        "PP-OCR with use_space_char off",
        "softmax [N, T, letters + 1]; metadata: character",
        reader("float[N, 16, 17] y", SOFTMAX, 17, 9, character="\n".join(LETTERS)),
        parts={"letters": "17 with the blank at 0"},
    ),
    row(
        "svtr-without-letters",
        "Paddle2ONNX",
        "PP-OCR files without their dictionary",
        "softmax [N, T, letters + 2], and nothing about letters",
        reader(f"float[N, 16, {PADDLE}] y", SOFTMAX, PADDLE, 9),
        parts={"letters": "not known"},
        check=reads("9"),
    ),
    row(
        "crnn-time-first",
        "torch.onnx.export",
        "CRNN of PyTorch",
        "logits [T, N, letters + 1]; a card with the letters",
        reader(
            "float[16, N, 17] y",
            TURNED,
            17,
            9,
            onnxcam=json.dumps({"schema": 1, "task": "text", "labels": ["", *LETTERS]}),
        ),
        parts={"letters": "17 with the blank at 0"},
    ),
    row(
        "card-letters",
        "any",
        "files with a card",
        "logits [N, T, letters + 1]; the card's `letters`",
        reader(
            "float[N, 16, 17] y",
            "y = Identity(z)",
            17,
            9,
            onnxcam=json.dumps({"schema": 1, "letters": "".join(LETTERS)}),
        ),
        parts={"letters": "17 with the blank at 0"},
    ),
    row(
        "keras-ctc-blank-last",
        "tf2onnx",
        "Keras's OCR models, keras-ocr",
        "softmax [N, T, letters + 1] with the blank last; metadata: alphabet",
        reader("float[N, 16, 17] y", SOFTMAX, 17, 8, blank=16, alphabet="".join(LETTERS)),
        parts={"letters": "17 with the blank at 16"},
    ),
    row(
        "doctr",
        "docTR",
        "crnn_vgg16_bn and others of docTR",
        "logits [N, T, letters + 1] with the blank last; config.json: vocab",
        reader("float[N, 16, 17] logits", "logits = Identity(z)", 17, 8, blank=16),
        files={"config.json": json.dumps({"arch": "crnn_vgg16_bn", "task": "recognition", "vocab": "".join(LETTERS)})},
        parts={"letters": "17 with the blank at 16"},
    ),
    row(
        "lprnet",
        "torch.onnx.export",
        "LPRNet: number plates",
        "logits [N, letters, T]; the blank '-' last",
        reader(
            "float[N, 17, 16] y",
            "y = Transpose<perm = [0, 2, 1]>(z)",
            17,
            8,
            blank=16,
            onnxcam=json.dumps({"schema": 1, "letters": "".join(LETTERS) + "-"}),
        ),
        parts={"letters": "17 with the blank at 16"},
    ),
    row(
        "ctc-argmax",
        "torch.onnx.export",
        "readers with greedy decoding inside",
        "int64 [N, T]: the best letter of each frame, behind ArgMax; metadata: charset",
        reader("int64[N, 16] ids", "ids = ArgMax<axis = 2, keepdims = 0>(z)", 17, 9, charset="".join(LETTERS)),
        parts={"scores": "'z'", "letters": "17 with the blank at 0"},
    ),
    row(
        "ctc-log-softmax",
        "torch.onnx.export",
        "CRNN of PyTorch with log_softmax, without letters",
        "log-probabilities [T, N, letters + 1]",
        reader(
            "float[16, N, 17] y",
            "v = Transpose<perm = [1, 0, 2]>(z) y = LogSoftmax<axis = 2>(v)",
            17,
            9,
        ),
        parts={"letters": "not known"},
        check=reads("9"),
    ),
    row(
        "ppocr-v5-inference-yml",
        "Paddle2ONNX",
        "PP-OCR v5 with the configuration of PaddleX",
        "fetch_name_0 [N, T, letters + 2]; inference.yml: PostProcess, character_dict",
        reader(f"float[N, 16, {PADDLE}] y", SOFTMAX, PADDLE, 9),
        files={"inference.yml": CONFIGURATION},
        parts={"letters": "18 with the blank at 0"},
    ),
    row(
        "charset-file",
        "torch.onnx.export",
        "CRNN of OpenCV's zoo: text_recognition_CRNN_EN",
        "logits [T, N, letters + 1]; charset_16_EN.txt",
        reader("float[16, N, 17] y", TURNED, 17, 9),
        files={"charset_16_EN.txt": "\n".join(LETTERS)},
        parts={"letters": "17 with the blank at 0"},
    ),
    row(
        "letters-on-one-line",
        "torch.onnx.export",
        "CRNN with an alphabet.txt",
        "softmax [N, T, letters + 1]; alphabet.txt with all letters on one line",
        reader("float[N, 16, 17] y", SOFTMAX, 17, 9),
        files={"alphabet.txt": "".join(LETTERS) + "\n"},
        parts={"letters": "17 with the blank at 0"},
    ),
    row(
        "crnn-logits-time-first",
        "torch.onnx.export",
        "CRNN of PyTorch without letters and without softmax",
        "logits [T, N, letters + 1]",
        reader("float[16, N, 37] y", TURNED, 37, 9),
        parts={"letters": "not known", "task": "a text recogniser"},
        check=reads("9"),
    ),
    row(
        "easyocr",
        "torch.onnx.export",
        "EasyOCR's recognisers of an open width",
        "logits [N, T, letters + 1]",
        reader("float[N, T, 97] output", "output = Identity(z)", 97, 9, size=(64, "W")),
        parts={"letters": "not known"},
        check=reads("9"),
    ),
    row(
        "lprnet-without-letters",
        "torch.onnx.export",
        "LPRNet: number plates of 24 × 94 pixels",
        "logits [N, letters, T] with the blank last, a wide image",
        reader("float[N, 68, 16] y", "y = Transpose<perm = [0, 2, 1]>(z)", 68, 8, blank=67, size=(32, 64)),
        parts={"letters": "not known"},
        check=reads("8"),
    ),
]
