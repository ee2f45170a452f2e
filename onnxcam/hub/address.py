"""The address of a model on the hub: ``hf://org/name[:file.onnx][@revision]``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from onnxcam.errors import ModelError
from onnxcam.paths import PathLike
from onnxcam.text import visible

__all__ = ["HubAddress"]

_FORM = "hf://org/name, hf://org/name:file.onnx or hf://org/name:file.onnx@revision"
_PATTERN = re.compile(
    r"""hf:/+                                   # also with the slashes joined, by pathlib
    (?P<repository>[\w.-]+(/[\w.-]+)?)
    ([:/](?P<file>[^@:]+?))?
    (@(?P<revision>[^@:]+))?""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class HubAddress:
    """A repository of the hub, and what of it is meant.

    Attributes:
        repository: ``org/name``.
        file: The path of the model in it; None chooses one.
        revision: A branch, tag or commit; None is the main branch.
    """

    repository: str
    file: str | None = None
    revision: str | None = None

    @classmethod
    def of(cls, source: PathLike) -> HubAddress | None:
        """Return the address that *source* is; None for a path. ModelError for a wrong one."""
        text = os.fspath(source).replace(os.sep, "/")
        if not re.match(r"hf:/", text):
            return None
        found = _PATTERN.fullmatch(text.rstrip("/"))
        if found is None or ".." in re.split("[/:]", text):
            raise ModelError(f"'{visible(text)}' is no address of a model; write {_FORM}")
        return cls(found["repository"], found["file"], found["revision"])

    def __str__(self) -> str:
        file = f":{self.file}" if self.file else ""
        return f"hf://{self.repository}{file}{f'@{self.revision}' if self.revision else ''}"
