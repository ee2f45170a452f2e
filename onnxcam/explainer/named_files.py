"""The files that decide an explanation beside the model, by their hashes: a run resumes only if they are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence

from onnxcam import paths
from onnxcam.errors import OnnxcamError
from onnxcam.targets import Target, parse

__all__ = ["hashes", "named_by"]


def named_by(target: Target, labels: Sequence[str] | None = None) -> list[str]:
    """Return the values of *target* that may name a file, such as those of ``like=a.png unlike=b.png``.

    Raises TargetError where the target does not parse.
    """
    return [os.fspath(one) for one in vars(parse(target, labels)).values() if isinstance(one, str | os.PathLike)]


def hashes(names: Iterable[str]) -> dict[str, str]:
    """Return a hash of the content of each of *names* that is a file; it is the same on every machine."""
    return {name: _hash(name) for name in dict.fromkeys(names) if paths.kind(name) == "file"}


def _hash(path: str) -> str:
    return hashlib.sha256(paths.read_bytes(path, OnnxcamError)).hexdigest()[:12]
