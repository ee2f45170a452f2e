"""Ask the package index whether a wheel installs on Linux, macOS and Windows: `python -m tools.platforms WHEEL`.

For each platform and each set of extras uv (`pip install uv`) resolves the wheel's dependencies as that platform would,
markers included, from wheels alone; nothing is installed. A set without a resolution is named, and the exit code is 1.
lime alone has no wheel; it is pure Python.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS 14 arm64": "aarch64-apple-darwin",
    "Windows x86_64": "x86_64-pc-windows-msvc",
}
EXTRAS = ("cpu", "gpu", "audit,batch,concepts,cpu,edge,evaluate,hub,notebook,perturbation,signals,text,truth,volumes")
PYTHONS = ("3.11", "3.13")
ABSENT = {("Linux arm64", "gpu")}
"""No wheel of onnxruntime-gpu for manylinux_2_28 on arm64."""


def resolve(wheel: Path, extras: str, platform: str, python: str) -> list[str]:
    """Return the pinned requirements of *wheel* with *extras*; RuntimeError with uv's words if there are none."""
    words = ["uv", "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate"]
    words += [
        "--only-binary",
        ":all:",
        "--no-binary",
        "lime",
        "--python-platform",
        platform,
        "--python-version",
        python,
    ]
    asked = f"onnxcam[{extras}] @ {wheel.resolve().as_uri()}\n"
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
    ran = subprocess.run(words, input=asked, env=environment, capture_output=True, encoding="utf-8")
    if ran.returncode:
        raise RuntimeError(" ".join(ran.stderr.split()))
    return [line for line in ran.stdout.splitlines() if "==" in line]


def main(wheel: Path) -> int:
    """Print a line for each platform, Python and set of extras; return the exit code."""
    failed = 0
    for name, platform in PLATFORMS.items():
        for python in PYTHONS:
            for extras in EXTRAS:
                if (name, extras) in ABSENT:
                    continue
                try:
                    said = f"{len(resolve(wheel, extras, platform, python))} packages"
                except RuntimeError as error:
                    said, failed = f"no: {error}", 1
                print(f"{name}\tPython {python}\t{extras}\t{said}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
