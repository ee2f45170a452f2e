"""The plan of a text recogniser: the text that the model reads, one of its characters, or a map for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.bake.ctc import occupancy
from onnxcam.bake.dense import to_float
from onnxcam.bake.indexed import ALL, BEST, IndexPlan, index_plan
from onnxcam.bake.plan import INPUT, BakeRequest
from onnxcam.errors import TargetError
from onnxcam.graph.emitter import Emitter
from onnxcam.graph.io import all_tensors
from onnxcam.metadata.reserved import TEXT
from onnxcam.model.prepared import PreparedModel
from onnxcam.targets import parse
from onnxcam.targets.aim import Aimed, WeightsAim
from onnxcam.targets.kinds import Top
from onnxcam.targets.text_recognition import TextRecognition

__all__ = ["text_plan"]

_MOST = 16
"""Maps of characters, where the user does not say how many."""


@dataclass(frozen=True)
class _Characters:
    """The characters of the text that the model reads; the default is the whole text."""

    task: TextRecognition
    count: int | None
    noun: str = "character"

    @property
    def usual(self) -> int:
        """The number of maps, where the user gives none."""
        return min(_MOST, self.count or _MOST)

    @property
    def aim(self) -> WeightsAim:
        """Return weights over the output."""
        return self.task.aim

    def metadata(self) -> Mapping[str, Any]:
        """Return the letters."""
        return {"letters": list(self.task.labels)}

    def target(self, op: Emitter, subject: PreparedModel, index: ir.Value) -> Aimed:
        """Emit the recognition of a character, or of the whole text."""
        return _TextReading(op, self.task).target(index)

    def outputs(self, op: Emitter, subject: PreparedModel) -> Mapping[str, ir.Value]:
        """Emit the indices of the letters of the text, −1 behind its end, int64 [N, T]."""
        reading = _TextReading(op, self.task)
        text = op.Where(op.Greater(reading.present, 0.0), reading.letters, op.const(np.array([-1])))
        text.shape = ir.Shape([subject.batch, self.count])
        return {TEXT: text}


@dataclass(frozen=True)
class _TextReading:
    """What the model reads, in the graph: T frames, of which each may be a letter of the text."""

    op: Emitter
    task: TextRecognition

    @property
    def _tensor(self) -> ir.Value:
        return all_tensors(self.op.graph)[self.task.frames.output]

    @property
    def _scores(self) -> ir.Value:
        """The scores [N, T, A]."""
        op, frames = self.op, self.task.frames
        y = to_float(op, self._tensor)
        if frames.flat:
            return op.Reshape(y, [-1, frames.flat, frames.letters])
        perm = [frames.batch, frames.frame, frames.letter]
        return y if perm == sorted(perm) else op.Transpose(y, perm=perm)

    @property
    def _best(self) -> ir.Value:
        """The best letter of each frame, int64 [N, T]."""
        return self.op.ArgMax(self._scores, axis=2, keepdims=0)

    @property
    def _kept(self) -> ir.Value:
        """1 for the frames whose best letter counts, else 0, [N, T]; see `TextRecognition`."""
        op, best, alphabet = self.op, self._best, self.task.alphabet
        silent = self._is_one_of(alphabet.silent)
        if self.task.decoding.slots:
            ends = op.CumSum(self._is_one_of(alphabet.ends), op.const(1))
            counts = op.Equal(ends, 0.0)
        else:
            nothing = op.Expand(op.const(np.array([[-1]])), op.Concat(op.Shape(best, start=0, end=1), [1], axis=0))
            before = op.Concat(nothing, op.Slice(best, [0], [-1], [1]), axis=1)
            counts = op.Not(op.Equal(best, before))
        return op.Mul(to_float(op, counts), op.Sub(1.0, silent))

    def _is_one_of(self, letters: set[int]) -> ir.Value:
        """Return 1 for the frames whose best letter is one of *letters*, else 0, [N, T]."""
        flags = np.zeros(self.task.frames.letters, np.float32)
        flags[sorted(letters)] = 1
        return self.op.Gather(self.op.const(flags), self._best, axis=0)

    @property
    def _slots(self) -> ir.Value:
        """1 where frame t is the frame of letter l of the text, else 0, [N, T, L]; L is T."""
        op, kept = self.op, self._kept
        number = op.Sub(op.CumSum(kept, op.const(1)), 1.0)
        places = to_float(op, op.Range(op.const(0), op.Squeeze(op.Shape(kept, start=1, end=2), [0]), op.const(1)))
        return op.Mul(to_float(op, op.Equal(op.Unsqueeze(number, [2]), places)), op.Unsqueeze(kept, [2]))

    @property
    def present(self) -> ir.Value:
        """1 for the letters of the text, 0 behind its end, [N, L]."""
        return self.op.ReduceSum(self._slots, [1], keepdims=0)

    @property
    def letters(self) -> ir.Value:
        """The letters of the text, int64 [N, L]; 0 behind its end."""
        op = self.op
        found = op.MatMul(op.Unsqueeze(to_float(op, self._best), [1]), self._slots)
        return op.Cast(op.Squeeze(found, [1]), to=int(ir.DataType.INT64))

    @property
    def _probabilities(self) -> ir.Value:
        """The probabilities [N, T, A]: the scores where they are that for the whole image, else their softmax."""
        op, scores = self.op, self._scores
        off = op.ReduceMax(op.Abs(op.Sub(op.ReduceSum(scores, [2], keepdims=1), 1.0)), [1], keepdims=1)
        low = op.ReduceMin(scores, [1, 2], keepdims=1)
        known = op.And(op.GreaterOrEqual(low, 0.0), op.LessOrEqual(off, 1.01e-3))
        return op.Where(known, op.Max(scores, op.const(1e-30, ir.DataType.FLOAT)), op.Softmax(scores, axis=2))

    @property
    def _shown(self) -> ir.Value:
        """The probability that frame t shows letter l, [N, T, L]."""
        if self.task.decoding.slots:
            return self._slots
        make = partial(occupancy, self.op, self._probabilities, self.letters, self.present, self.task.blank)
        return self.op.once(("ctc", self.task.frames.output), make)

    def target(self, index: ir.Value) -> Aimed:
        """Return the recognition of the letter *index* [N] of the text, of all where it is `BEST`."""
        op, frames = self.op, self.task.frames
        number = op.Unsqueeze(index, [1])
        count = op.Squeeze(op.Shape(self.letters, start=1, end=2), [0])
        own = op.Or(op.Equal(op.Range(op.const(0), count, op.const(1)), number), op.Equal(number, op.const(BEST)))
        wanted = op.Mul(to_float(op, own), self.present)
        alphabet = op.const(np.arange(frames.letters)[None, None])
        hot = to_float(op, op.Equal(op.Unsqueeze(self.letters, [2]), alphabet))
        weights = op.MatMul(op.Mul(self._shown, op.Unsqueeze(wanted, [1])), hot)
        if frames.flat:
            weights = op.Reshape(weights, [0, -1])
        elif frames.letter < frames.frame:
            weights = op.Transpose(weights, perm=[0, 2, 1])
        return self.task.aim.weigh(op, weights)


def text_plan(task: TextRecognition, request: BakeRequest) -> IndexPlan:
    """Return the plan of a text recogniser."""
    if request.target not in (INPUT, ALL) and not isinstance(parse(request.target, task.labels), Top):
        raise TargetError(
            f"target {request.target!r} cannot be baked: the file explains what it reads; give top, input or all"
        )
    shape, frames = task.frames.scores.shape, task.frames
    count = frames.flat or (None if shape is None else shape[frames.frame])
    return index_plan(_Characters(task, count if isinstance(count, int) else None), request)
