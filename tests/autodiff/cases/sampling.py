"""Cases for onnxcam.autodiff.rules.sampling.

The reference evaluator computes where it samples in float32, too coarsely for differences.
"""

from dataclasses import dataclass

import numpy as np

from onnxcam.autodiff import vjp
from onnxcam.graph.io import load
from onnxcam.testing import _renamed, check_grads, run, widen, widen_array
from tests.autodiff.cases import Case, case, ints, normal, uniform
from tests.autodiff.cases.on_runtime import on_runtime
from tests.autodiff.cases.special import AgainstTorch, special
from tests.optional import torch


@dataclass(frozen=True)
class Twice(AgainstTorch):
    """PyTorch differentiates its samples once. The gradient of the gradient is held against differences of that."""

    def run(self, symbolic: bool = False) -> None:
        super().run(symbolic)
        if not symbolic:
            check_twice(self)


def check_twice(case: Case) -> None:
    """Assert in float64 that the gradients of the gradients are right: they are of operators that can do so."""
    once = _renamed(vjp(widen(load(case.model()))), 1)
    feeds = {name: widen_array(x) for name, x in case.inputs.items() if x is not None and name not in case.constants}
    y = run(case.model(), {name: x for name, x in case.inputs.items() if name in feeds})["y"]
    feeds["y.u1"] = widen_array(normal(*y.shape, seed=7))
    outputs = [value.name for value in once.graph.output if value.name.endswith(".d1")]
    check_grads(once, feeds, outputs=outputs, order=1, runtime=False)


def grid_sample(name: str, x: np.ndarray, grid: np.ndarray, mode: str, padding: str, corners: int = 0) -> Case:
    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    old = mode.startswith("bi")  # as opset 16 called it; the reference evaluator does not know it

    def function(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        how = "bicubic" if "cubic" in mode else "bilinear"
        return torch.nn.functional.grid_sample(x, grid, how, padding, bool(corners))

    inputs = {"x": x, "grid": grid}
    like = case("GridSample", name, inputs, opset=18 if old else 20, order=1, symbolic=not old, **settings)
    return special(AgainstTorch if old else Twice, like, *x.shape[:2], *grid.shape[1:-1], function=function)


def affine_grid(name: str, theta: np.ndarray, size: np.ndarray, corners: int = 0) -> Case:
    def function(theta: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.affine_grid(theta, size.tolist(), bool(corners))

    like = case("AffineGrid", name, {"theta": theta, "size": size}, ("size",), opset=20, order=1, align_corners=corners)
    return special(AgainstTorch, like, int(size[0]), *size[2:].tolist(), len(size) - 2, function=function)


PADDINGS = ("zeros", "border", "reflection")
POINTS = uniform(2, 3, 2, 2, low=-1.3, high=1.3)
IMAGE, VOLUME = normal(2, 2, 3, 4), normal(1, 2, 2, 3, 2)
CASES = [
    *(
        grid_sample(f"{mode}-{padding}-{corners}", IMAGE, POINTS, mode, padding, corners)
        for mode in ("linear", "cubic")
        for padding in PADDINGS
        for corners in (0, 1)
    ),
    *(grid_sample(f"{mode}, as of old", IMAGE, POINTS, mode, "border") for mode in ("bilinear", "bicubic")),
    *(
        grid_sample(f"3d-{padding}", VOLUME, uniform(1, 2, 1, 2, 3, low=-1.2, high=1.2), "linear", padding)
        for padding in PADDINGS
    ),
    *(
        on_runtime(
            "GridSample", f"nearest-{padding}", {"x": IMAGE, "g": POINTS}, ("g",), mode="nearest", padding_mode=padding
        )
        for padding in PADDINGS
    ),
    affine_grid("2d", normal(2, 2, 3), ints(2, 1, 3, 2)),
    affine_grid("2d-corners", normal(1, 2, 3), ints(1, 1, 2, 4), 1),
    affine_grid("3d", normal(2, 3, 4), ints(2, 1, 2, 3, 2)),
]
