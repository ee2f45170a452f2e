"""Rows of a batch → where a network looks at the wrong thing: findings, clusters, lists of pictures, a report."""

from __future__ import annotations

from onnxcam.errors import OutputError

try:
    import pyarrow  # noqa: F401
    import sklearn  # noqa: F401
except ImportError as error:
    raise OutputError(f"audit needs PyArrow and scikit-learn ({error}); pip install 'onnxcam[audit]'") from None
