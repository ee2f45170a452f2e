"""Run a model in an engine of the user: a Python function, in a process of its own, with a time limit.

The process can be stopped where an engine hangs, and its crash is an error with one line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from onnxcam.child_process import ChildProcess
from onnxcam.compare.external_worker import ARRAYS, packed, unpacked
from onnxcam.errors import EngineError

__all__ = ["SECONDS", "EngineStopped", "ExternalRunner"]

SECONDS = 60.0
"""Time limit of one run, in seconds; of the start, ten times as much, since engines compile models there."""
_START = 10


class EngineStopped(EngineError):
    """The process of an engine has ended, or was stopped."""


class ExternalRunner:
    """A function of the user that runs a model.

    The function takes a dict of input tensors by name, and returns the outputs: a dict by name, or a list in the order
    of the model's outputs. It is imported in a process of its own, once.

    Args:
        spec: ``"module:function"`` or ``"file.py:function"``.
        outputs: The outputs that the model declares; a result of another rank or length is an error.
        seconds: Time limit of one run.

    Raises:
        EngineError: the function cannot be imported, raises, crashes, takes too long, or returns no such outputs.

    Example:
        >>> runner = ExternalRunner("engine.py:run", model.graph.outputs)
        >>> runner({"image": tensor})["scores"]
    """

    def __init__(self, spec: str, outputs: Sequence[ir.Value], seconds: float = SECONDS) -> None:
        where, _, name = spec.rpartition(":")
        if not where or not name:
            raise EngineError(f"the runner {spec!r} is no module:function, such as engine.py:run")
        if where.endswith(".py") and not os.path.isfile(where):
            raise EngineError(f"the runner {spec!r}: there is no file {where}")
        self.spec, self._outputs, self._seconds = spec, list(outputs), seconds
        self._process = ChildProcess("onnxcam.compare.external_worker", spec)
        self._answer("the import", _START * seconds)

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name for the inputs *feeds*."""
        if not self._process.send(ARRAYS, packed(feeds)):
            raise self._ended()
        return self._checked(self._answer("a run", self._seconds))

    def close(self) -> None:
        """Stop the process."""
        self._process.close()

    def _answer(self, what: str, seconds: float) -> dict[str, NDArray[Any]]:
        try:
            frame = self._process.receive(seconds)
        except TimeoutError:
            self.close()
            raise EngineStopped(
                f"the runner {self.spec!r}: {what} takes longer than {seconds:g} s; it was stopped; "
                "--runner-timeout allows more"
            ) from None
        if frame is None:
            raise self._ended()
        if frame[0] != ARRAYS:
            raise EngineError(f"the runner {self.spec!r}: {what} fails: {frame[1].decode(errors='replace')}")
        return unpacked(frame[1])

    def _ended(self) -> EngineStopped:
        how = self._process.ending()
        return EngineStopped(f"the runner {self.spec!r}: its process ended, {how}; its messages are above")

    def _checked(self, found: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the outputs by the model's names, in its dtypes of kind; EngineError for other names or shapes."""
        declared = {value.name or "": value for value in self._outputs}
        numbered = all(name == f"#{at}" for at, name in enumerate(found))
        if numbered and len(found) != len(declared):
            raise EngineError(
                f"the runner {self.spec!r} returns {len(found)} outputs, the model has {len(declared)}: "
                f"{', '.join(declared)}; return a dict by name"
            )
        named = dict(zip(declared, found.values(), strict=True)) if numbered else dict(found)
        missing = [name for name in declared if name not in named]
        if missing:
            raise EngineError(
                f"the runner {self.spec!r} returns no output {missing[0]!r}; it returns {', '.join(named) or 'nothing'}"
            )
        for name, value in declared.items():
            if not _fits(named[name].shape, value.shape):
                raise EngineError(
                    f"the runner {self.spec!r} returns {name!r} of shape {list(named[name].shape)}, but the model "
                    f"declares {value.shape}"
                )
        return {name: named[name] for name in declared}


def _fits(shape: Sequence[int], declared: ir.Shape | None) -> bool:
    """Return whether *shape* is one of the shapes *declared*; the first axis, of images, is free."""
    if declared is None:
        return True
    return len(shape) == len(declared) and all(
        number == 0 or not isinstance(length, int) or length == own
        for number, (own, length) in enumerate(zip(shape, declared, strict=True))
    )
