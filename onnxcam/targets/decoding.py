"""Decoding: whether the letters of frames make a text by CTC, or one for each slot, and how that is known."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxcam.structure.layer import ancestors
from onnxcam.structure.layout import picture_layout
from onnxcam.targets.alphabet import Alphabet
from onnxcam.targets.evidence import Evidence
from onnxcam.targets.frames import Frames
from onnxcam.targets.graph_outputs import function_before, length

__all__ = ["Decoding", "find_decoding"]

_SLOTS = re.compile(r"parseq|vitstr|trocr|satrn|abinet|slot|(^|[_\W])(sar|master|cct)([_\W]|$)", re.IGNORECASE)
_CTC = re.compile(r"ctc|crnn|lprnet|svtr|pp-?ocr|rosetta|easyocr", re.IGNORECASE)
"""Names of readers, in the name of the file or of the graph."""
_STRIDES = (2, 4, 5, 8)
"""Pixels of width for each frame of networks that are trained by CTC; the number of frames may differ by `_BORDER`."""
_BORDER = 1
_MOST_SLOTS = 48


@dataclass(frozen=True)
class Decoding:
    """How a text is read, and how that is known, a key of `SOURCES`."""

    slots: bool
    source: str
    why: str = ""

    def __str__(self) -> str:
        return "slots: one letter each, until the end" if self.slots else "CTC: repeated letters count once, blanks not"


def find_decoding(evidence: Evidence, frames: Frames, alphabet: Alphabet) -> Decoding:
    """Return how a text is read: by its written letters, names, the graph, a run, and the number of frames, in turn."""
    if alphabet.written:
        return Decoding(alphabet.written == "slots", alphabet.source, alphabet.why)
    for found in (_by_names(evidence), _by_graph(evidence, frames), _by_run(evidence, frames, alphabet)):
        if found is not None:
            return found
    return _by_count(evidence, frames)


def _by_names(evidence: Evidence) -> Decoding | None:
    path = evidence.names.path
    for name in (evidence.graph.name or "", "" if path is None else path.stem):
        for slots, names in ((True, _SLOTS), (False, _CTC)):
            if names.search(name):
                return Decoding(slots, "names", f"the name {name!r}")
    return None


def _by_graph(evidence: Evidence, frames: Frames) -> Decoding | None:
    """Return the decoding where layers tell: letters that depend on earlier letters, or habits of CTC."""
    if not frames.decided and any(_is_argmax(x.producer()) for x in ancestors(frames.scores)):
        return Decoding(True, "graph", "a letter depends on the letters before it")
    if frames.flat:
        return Decoding(True, "graph", "a softmax for each slot in one vector")
    habits = frames.letter != 2 or frames.batch == 1 or function_before(frames.scores) == "logsoftmax"
    if habits or any(node.op_type in ("LSTM", "GRU") for node in evidence.graph):
        return Decoding(False, "graph")
    return None


def _is_argmax(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "ArgMax"


def _by_run(evidence: Evidence, frames: Frames, alphabet: Alphabet) -> Decoding | None:
    """Return the decoding that runs show: CTC has letters between blanks, slots have letters and then only ends."""
    blanks = [scores.argmax(axis=1) == alphabet.blank for scores in frames.runs(evidence)]
    if any(map(_is_between, blanks)):
        return Decoding(False, "run", "letters between blanks")
    return Decoding(True, "run", "letters without blanks, then ends") if blanks and all(map(_ends, blanks)) else None


def _is_between(blanks: np.ndarray) -> bool:
    letters = np.flatnonzero(~blanks)
    return bool(len(letters)) and bool(blanks[: letters[-1]].any()) and blanks.mean() > 0.5


def _ends(blanks: np.ndarray) -> bool:
    count = int((~blanks).sum())
    return count > 1 and bool(blanks[count:].all()) and count < len(blanks)


def _by_count(evidence: Evidence, frames: Frames) -> Decoding:
    """Guess by the number of frames: with CTC it is the image's width divided by a usual stride."""
    layout, count = picture_layout(evidence.image), length(frames.scores, frames.frame)
    width = layout.size(evidence.image)[-1] if layout is not None else None
    if not isinstance(width, int) or not isinstance(count, int) or count > _MOST_SLOTS:
        return Decoding(False, "guess")
    usual = any(abs(width / stride - count) <= _BORDER for stride in _STRIDES)
    return Decoding(not usual, "guess", f"{count} frames for {width} pixels of width")
