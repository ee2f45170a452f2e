"""Keep from the user what frameworks say while they work: what matters is said in our own words."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def silenced(loggers: Sequence[str]) -> Iterator[None]:
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
