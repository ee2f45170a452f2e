"""What tests of files that could run code share: the refusal, and that nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxcam.converters import from_file
from onnxcam.errors import ConversionError


def refused(path: Path | str, *says: str, read: Callable[[Path], Any] | None = None, **words: Any) -> None:
    """Assert that *path* is refused in one line that holds each of *says*."""
    with pytest.raises(ConversionError) as caught:
        read(Path(path)) if read else from_file(path, "net.onnx", **words)
    text = str(caught.value)
    assert "\n" not in text
    for each in says:
        assert each in text
    assert not Path("net.onnx").exists()


def untrusted(path: Path | str, *says: str, **how: Any) -> None:
    """Assert that *path* is refused unless ``--unsafe-pickle`` is given."""
    refused(path, *says, "use --unsafe-pickle if you trust its author", **how)
