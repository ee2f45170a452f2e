"""Conventions of text recognisers without CTC: one letter for each slot, and a letter that ends or pads the text."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx

from tests.zoo.convention import Convention, picture
from tests.zoo.networks import bright
from tests.zoo.readers import reads

__all__ = ["CONVENTIONS"]

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SLOTS = 9
READ = "88A"


def reader(
    output: str,
    last: str,
    letters: int,
    places: list[int],
    stop: int,
    size: tuple[object, object] = (64, 64),
    **metadata: str,
) -> Callable[[], onnx.ModelProto]:
    """Return a maker of a network that reads letters at *places* of a bright image, one in each slot, then *stop*.

    It has scores `z` [N, slots, letters], and what follows.
    """
    lifts = np.zeros((2, SLOTS * letters), np.float32)
    bias = np.full(SLOTS * letters, -2, np.float32)
    for slot in range(SLOTS):
        place = places[slot] if slot < len(places) else stop
        lifts[0, slot * letters + place] = 40
        bias[slot * letters + stop] = 1
    shape = np.array([-1, SLOTS, letters])

    def make() -> onnx.ModelProto:
        head = f"""
            p = AveragePool<kernel_shape = [4, 4], strides = [4, 4]>(a)
            g = GlobalAveragePool(p)
            f = Flatten(g)
            m = MatMul(f, lifts)
            w = Add(m, bias)
            z = Reshape(w, shape)
            {last}
        """
        model = bright(output, head, size=size, lifts=lifts, bias=bias, shape=shape)
        onnx.helper.set_model_props(model, metadata)
        return model

    return make


def row(
    name: str, producer: str, users: str, signature: str, make: Callable[[], onnx.ModelProto], **rest: object
) -> Convention:
    """Return a convention of a text recogniser with slots that reads `READ`."""
    given = {"check": reads(READ), "parts": {"decoding": "slots"}, **rest}
    return Convention(name, producer, users, signature, make, "a text recogniser", **given)  # type: ignore[arg-type]


PLATE = """# Config for Latin-alphabet plates
max_plate_slots: 9
# All the possible character set for the model output.
alphabet: '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_'
# Padding character.
pad_char: '_'
img_height: 64
img_width: 128
keep_aspect_ratio: false
interpolation: linear
image_color_mode: rgb
"""
SOFTMAX = "plate = Softmax<axis = 2>(z)"
FLAT = "s = Softmax<axis = 2>(z) y = Flatten(s)"
DIGITS = [8, 8, 10]
CHARACTERS = {"letters": "37 with the end or padding at 36", "decoding": "slots"}
AFTER_END = [9, 9, 11]

CONVENTIONS = [
    row(
        "fast-plate-ocr",
        "tf2onnx, Keras 3",
        "fast-plate-ocr with its configuration",
        "plate [N, slots, letters] behind Softmax; yaml: max_plate_slots, alphabet, pad_char",
        reader("float[N, 9, 37] plate", SOFTMAX, 37, DIGITS, 36),
        files={"cct_xs_v1_global_plate_config.yaml": PLATE},
        parts=CHARACTERS,
    ),
    row(
        "fast-plate-ocr-flat",
        "tf2onnx, Keras 3",
        "fast-plate-ocr before its version 1",
        "[N, slots · letters]: a softmax for each slot; yaml: max_plate_slots, alphabet, pad_char",
        reader("float[N, 333] y", FLAT, 37, DIGITS, 36),
        files={"plate_config.yaml": PLATE},
        parts=CHARACTERS,
    ),
    row(
        "plates-without-letters",
        "tf2onnx, Keras 3",
        "fast-plate-ocr without its configuration",
        "[N, slots · letters]: a softmax for each slot, and nothing about letters",
        reader("float[N, 333] y", FLAT, 37, DIGITS, 36),
        check=reads("8 8 10"),
        parts={"letters": "not known", "decoding": "slots"},
    ),
    row(
        "doctr-parseq",
        "docTR",
        "parseq, vitstr_small, sar_resnet31 of docTR",
        "logits [N, T, letters + 1] with <eos> last; config.json: arch, vocab",
        reader("float[N, 9, 37] logits", "logits = Identity(z)", 37, DIGITS, 36),
        files={"config.json": json.dumps({"arch": "parseq", "task": "recognition", "vocab": LETTERS})},
        parts=CHARACTERS,
    ),
    row(
        "doctr-master",
        "docTR",
        "master of docTR",
        "logits [N, T, letters + 3] with <eos>, <sos>, <pad> last; config.json: arch, vocab",
        reader("float[N, 9, 39] logits", "logits = Identity(z)", 39, DIGITS, 36),
        files={"config.json": json.dumps({"arch": "master", "task": "recognition", "vocab": LETTERS})},
        parts={"letters": "39 with the end or padding at 36", "decoding": "slots"},
    ),
    row(
        "parseq-tokens",
        "torch.onnx.export",
        "PARSeq, ABINet with a file of letters that has the end, [E], first",
        "logits [N, T, letters + 1] with [E] at 0; charset.txt",
        reader("float[N, 9, 37] output", "output = Identity(z)", 37, AFTER_END, 0),
        files={"charset.txt": "\n".join(["[E]", *LETTERS])},
        parts={"letters": "37 with the end or padding at 0", "decoding": "slots"},
    ),
    row(
        "parseq-charset",
        "torch.onnx.export",
        "PARSeq with its letters in the metadata; 9 frames for 128 pixels are no stride of CTC",
        "logits [N, T, letters + 1] with the end at 0; metadata: charset",
        reader("float[N, 9, 37] output", "output = Identity(z)", 37, AFTER_END, 0, size=(64, 128), charset=LETTERS),
        image=lambda: picture(size=(64, 128)),
    ),
    row(
        "vitstr",
        "torch.onnx.export",
        "ViTSTR with its tokens [GO] and [s] in a file",
        "logits [N, T, letters + 2] with [GO] at 0 and [s] at 1; character.txt",
        reader("float[N, 9, 38] output", "output = Identity(z)", 38, [10, 10, 12], 1),
        files={"character.txt": "\n".join(["[GO]", "[s]", *LETTERS])},
        parts={"letters": "38 with the end or padding at 1", "decoding": "slots"},
    ),
]
