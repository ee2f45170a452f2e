"""Suppress log lines, warnings and native stderr output of frameworks, and restore the process afterwards."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

__all__ = ["quiet_tensorflow", "quiet_torch", "without_native_stderr", "without_warnings"]

_TORCH_LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._dynamo", "onnxscript", "onnx_ir")


def quiet_torch() -> AbstractContextManager[None]:
    """Suppress log lines and warnings of PyTorch's exporters."""
    return without_warnings(_TORCH_LOGGERS)


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Suppress log lines and warnings of TensorFlow and tf2onnx, and restore the process afterwards."""
    environment = os.environ.get("TF_CPP_MIN_LOG_LEVEL")  # read by TensorFlow and set by tf2onnx at import
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = environment or "3"
    try:
        with without_native_stderr(), without_warnings(("tensorflow", "tf2onnx", "absl")):
            yield
    finally:
        if environment is None:
            os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
        else:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = environment


@contextmanager
def without_warnings(loggers: Sequence[str]) -> Iterator[None]:
    """Suppress Python warnings and the *loggers* with these names."""
    levels = {logger: logger.level for logger in map(logging.getLogger, loggers)}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


@contextmanager
def without_native_stderr() -> Iterator[None]:
    """Discard what compiled code writes to file descriptor 2; output of Python's `sys.stderr` still appears.

    `onnxcam.stderr.silence` replaces C's ``stderr`` stream, which is safe between threads. TensorFlow and MLIR write to
    the file descriptor itself, so a conversion, which runs alone, redirects that.
    """
    python = sys.stderr
    try:
        python.flush()
        own = python.fileno() == 2
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except (AttributeError, OSError, ValueError):  # no standard error stream, as in a service or a notebook
        yield
        return
    try:
        os.dup2(nowhere, 2)
        with open(kept, "w", encoding=python.encoding, errors=python.errors, buffering=1, closefd=False) as other:
            if own:
                sys.stderr = other
            yield
    finally:
        if own:
            sys.stderr = python
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
