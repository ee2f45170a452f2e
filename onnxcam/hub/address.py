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
    r"""(?i:hf):/+                              # also with the slashes joined, by pathlib
    (?P<repository>[\w.-]+/[\w.-]+)
    ([:/](?P<file>[^@:]+?))?
    (@(?P<revision>[^@:]+))?""",
    re.VERBOSE,
)

_WEB = re.compile(
    r"https?:/+huggingface\.co/(?P<repository>[^/]+/[^/?#]+)"
    r"(/(blob|resolve|tree)/(?P<revision>[^/?#]+)(/(?P<file>[^?#]+))?)?([?#].*)?"
)


def _from_web(page: re.Match[str]) -> str:
    """Return the address of the model that a *page* of the hub shows."""
    file = f":{page['file']}" if (page["file"] or "").endswith(".onnx") else ""
    revision = f"@{page['revision']}" if page["revision"] not in (None, "main") else ""
    return f"hf://{page['repository']}{file}{revision}"


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
        """Return the address that *source* is, also that of a page of the hub; None for a path.

        ModelError for a wrong one.
        """
        text = _WEB.sub(_from_web, os.fspath(source).replace(os.sep, "/"))
        if not re.match(r"(?i:hf):/", text):
            return None
        found = _PATTERN.fullmatch(text.rstrip("/"))
        if found is None or ".." in re.split("[/:]", text):
            raise ModelError(f"'{visible(text)}' is no address of a model; write {_FORM}")
        return cls(found["repository"], found["file"], found["revision"])

    def __str__(self) -> str:
        file = f":{self.file}" if self.file else ""
        return f"hf://{self.repository}{file}{f'@{self.revision}' if self.revision else ''}"
