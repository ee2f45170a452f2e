"""``pipx run onnxcam`` and ``uvx onnxcam``: the engine in a throw-away environment, which names no extra.

onnxcam depends on no ONNX Runtime, because its builds (CPU, CUDA, QNN, …) replace each other's files: a user chooses.
An environment that pipx or uv makes for one command holds no other build, so onnxcam adds that of its extra ``cpu``
and says so (docs/decisions/0043-release.md). No other environment is changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from onnxcam.cli import main

__all__ = ["from_pipx", "from_script"]

_TRUE = "pipx run --spec 'onnxcam[cpu]' onnxcam"
_MARK = "ONNXCAM_ENGINE_ADDED"
_CACHES = ("archive-v", "builds-v", "environments-v")
"""Starts of the names of folders in uv's cache that hold throw-away environments."""


def from_pipx() -> None:
    """Run the command line; pipx calls this, by the entry point of the group ``pipx.run``."""
    if not _has_engine():
        print("onnxcam: adding ONNX Runtime for the CPU to pipx's temporary environment", file=sys.stderr)
        if subprocess.run([*_installer(), "--quiet", _engine()], stdout=sys.stderr).returncode:
            _refuse()
        importlib.invalidate_caches()
    main()


def from_script() -> None:
    """Run the command line; from ``uvx``, in an environment with ONNX Runtime."""
    uv = os.environ.get("UV")
    if uv and _MARK not in os.environ and _is_uvs(Path(sys.prefix)) and not _has_engine():
        print("onnxcam: adding ONNX Runtime for the CPU to uv's temporary environment", file=sys.stderr)
        words = [uv, "tool", "run", "--with", _engine(), "--from", _source(), "onnxcam", *sys.argv[1:]]
        sys.exit(subprocess.run(words, env=os.environ | {_MARK: "1"}).returncode)
    main()


def _installer() -> list[str]:
    """Return the command that installs into this environment: pip's, or uv's, which needs no pip in it."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    uv = os.environ.get("UV") or shutil.which("uv")
    return [uv, "pip", "install", "--python", sys.executable] if uv else _refuse()


def _refuse() -> NoReturn:
    print(f"error: ONNX Runtime cannot be added; run: {_TRUE} {' '.join(sys.argv[1:])}", file=sys.stderr)
    sys.exit(2)


def _has_engine() -> bool:
    return importlib.util.find_spec("onnxruntime") is not None


def _is_uvs(prefix: Path) -> bool:
    return any(part.startswith(_CACHES) for part in prefix.parts)


def _engine() -> str:
    """Return the requirement of the extra ``cpu``."""
    required = metadata.requires("onnxcam") or ()
    return next(line.partition(";")[0].strip() for line in required if "'cpu'" in line.replace('"', "'"))


def _source() -> str:
    """Return what this onnxcam was installed from: a file, or its version on the index."""
    found = metadata.distribution("onnxcam")
    direct = found.read_text("direct_url.json")
    return json.loads(direct)["url"] if direct else f"onnxcam=={found.version}"
