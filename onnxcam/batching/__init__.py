"""Many pictures: sources, shards, Parquet parts, and processes that a picture may end without losing the others."""

from __future__ import annotations

from onnxcam.errors import OutputError

try:
    import fsspec  # noqa: F401
    import pyarrow  # noqa: F401
except ImportError as error:
    raise OutputError(f"batch needs PyArrow and fsspec ({error}); pip install 'onnxcam[batch]'") from None
