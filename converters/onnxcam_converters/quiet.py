"""Keep from the user what frameworks say while they work: what matters is said in our own words."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def without_warnings(loggers: Sequence[str]) -> Iterator[None]:
    """Silence warnings and the *loggers*, by name, and leave the process as it was."""
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
    """Silence what compiled code writes to the standard error stream, which no logger of Python's sees.

    Python itself still writes there: `sys.stderr` is another way to the same place meanwhile.
    """
    python = sys.stderr
    try:
        python.flush()
        own = python.fileno() == 2
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except (AttributeError, OSError, ValueError):  # there is no such stream, as in a service or a notebook
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
