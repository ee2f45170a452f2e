"""The maps of two more peers, as in `maps`: saliency, by the authors of Guided IG and XRAI, and Xplique, of Sobol."""

from __future__ import annotations

import warnings
from typing import Any
from unittest import mock

import numpy as np
import torch
from maps import Case, Row

__all__ = ["PEERS"]


def _gradients(case: Case) -> Any:
    """Return the function that saliency asks for gradients of the target, [N, H, W, C] to the same."""
    import saliency.core as saliency

    def gradients(images: np.ndarray, call_model_args: Any = None, expected_keys: Any = None) -> dict[str, np.ndarray]:
        x = torch.from_numpy(np.asarray(images, np.float32)).permute(0, 3, 1, 2).requires_grad_()
        (g,) = torch.autograd.grad(case.module(x)[:, case.target].sum(), x)
        return {saliency.INPUT_OUTPUT_GRADIENTS: g.permute(0, 2, 3, 1).numpy()}

    return gradients


def _picture(case: Case) -> np.ndarray:
    return case.x[0].permute(1, 2, 0).numpy()


def guided_ig(case: Case) -> np.ndarray:
    """Return the map of saliency's GuidedIG, channels first."""
    import saliency.core as saliency

    def quantile(values: np.ndarray, share: float, interpolation: str) -> Any:
        return np.percentile(values, 100 * share, method=interpolation)

    with mock.patch("numpy.quantile", quantile):  # its argument "method" had another name before NumPy 1.22
        return np.moveaxis(saliency.GuidedIG().GetMask(_picture(case), _gradients(case)), -1, 0)


def xrai(case: Case) -> np.ndarray:
    """Return the map of saliency's XRAI."""
    import saliency.core as saliency

    settings = saliency.XRAIParameters(steps=STEPS)
    return saliency.XRAI().GetMask(_picture(case), _gradients(case), extra_parameters=settings, batch_size=20)


def sobol(case: Case) -> np.ndarray:
    """Return the indices of Xplique's SobolAttributionMethod before they are enlarged, with SciPy's Sobol sequence."""
    warnings.simplefilter("ignore")
    import tensorflow
    from xplique.attributions import SobolAttributionMethod
    from xplique.attributions.global_sensitivity_analysis import ScipySobolSequenceRS
    from xplique.wrappers import TorchWrapper

    made = SobolAttributionMethod(TorchWrapper(case.twin(), "cpu"), sampler=ScipySobolSequenceRS())
    target = np.eye(10, dtype=np.float32)[[case.target]]
    resize = tensorflow.image.resize
    with mock.patch("tensorflow.image.resize", lambda values, size, **_: resize(values, size, method="nearest")):
        found = np.asarray(made.explain(_picture(case)[None], target))[0].squeeze()
    cell = len(found) // CELLS
    return found[::cell, ::cell]


STEPS, CELLS = 300, 8
PEERS: dict[str, list[Row]] = {
    "saliency": [
        Row("guided-ig", "GuidedIG", guided_ig),
        Row("xrai", "XRAI", xrai, {"steps": STEPS, "batch_size": 20}),
    ],
    "xplique": [Row("sobol", "SobolAttributionMethod", sobol, {"cells": CELLS, "batch_size": 64})],
}
"""Who is compared with whom."""
