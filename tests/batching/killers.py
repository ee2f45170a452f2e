"""A preprocessing that ends its process at a red picture, waits at a green one, and ends its parent at a blue one.

The file ``ends`` in the working folder says how often the parent is ended.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def preprocess(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the tensor [1, 3, 96, 96]."""
    colour = picture.reshape(-1, 3)
    if (colour == (255, 0, 0)).all():
        os.kill(os.getpid(), signal.SIGKILL)
    if (colour == (0, 255, 0)).all():
        time.sleep(600)
    if (colour == (0, 0, 255)).all() and (left := int(Path("ends").read_text(encoding="utf-8"))):
        Path("ends").write_text(str(left - 1), encoding="utf-8")
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return np.moveaxis(picture[:96, :96].astype(np.float32) / 255, 2, 0)[None]
