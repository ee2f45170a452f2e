"""The environment of the measurements: onnxcam from this checkout and the peers, in a folder of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
VENV = CACHE / "venv"

STUB = {
    "__init__.py": "from torchvision import ops, transforms\n",
    "ops.py": "",
    "transforms/__init__.py": "Compose = Normalize = ToTensor = None\n",
    "transforms/functional.py": "resize = None\n",
}
"""Stands for torchvision where the real one cannot be imported: pytorch-grad-cam imports these names at its top for
helpers that read pictures and compare boxes; nothing that is measured calls them."""


def prepare() -> Path:
    """Return the interpreter of the environment, which is made, or brought up to date, first."""
    python = VENV / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    wanted = _fingerprint()
    stamp = VENV / "fingerprint"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"making {VENV}", file=sys.stderr)
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    _pip(python, "--editable", f"{HERE.parent}[cpu,edge,torch]", "--requirement", HERE / "peers-need.txt")
    _pip(python, "--no-deps", "--requirement", HERE / "peers.txt")
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode:
        _stub_torchvision(python)
    stamp.write_text(wanted)
    return python


def _fingerprint() -> str:
    files = [HERE.parent / "pyproject.toml", HERE / "peers.txt", HERE / "peers-need.txt", Path(__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _pip(python: Path, *arguments: str | Path) -> None:
    subprocess.run([python, "-m", "pip", "install", "--quiet", *arguments], check=True)


def _stub_torchvision(python: Path) -> None:
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    for name, text in STUB.items():
        file = site / "torchvision" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
