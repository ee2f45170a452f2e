"""Cases for onnxcam.autodiff.rules.sampling.

The reference evaluator computes where it samples in float32, too coarsely for differences.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from tests.autodiff.cases import Case, case, ints, normal, uniform
from tests.autodiff.cases.on_runtime import on_runtime
from tests.autodiff.cases.special import AgainstTorch, special


def grid_sample(name: str, x: np.ndarray, grid: np.ndarray, mode: str, padding: str, corners: int = 0) -> Case:
    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}

    def function(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        how = mode if mode.startswith("bi") else "bilinear"
        return torch.nn.functional.grid_sample(x, grid, how, padding, bool(corners))

    opset = 20 if x.ndim > 4 else 18
    like = case("GridSample", name, {"x": x, "grid": grid}, opset=opset, order=1, symbolic=False, **settings)
    return special(AgainstTorch, like, *x.shape[:2], *grid.shape[1:-1], function=function)


def affine_grid(name: str, theta: np.ndarray, size: np.ndarray, corners: int = 0) -> Case:
    def function(theta: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.affine_grid(theta, size.tolist(), bool(corners))

    like = case("AffineGrid", name, {"theta": theta, "size": size}, ("size",), opset=20, order=1, align_corners=corners)
    return special(AgainstTorch, like, int(size[0]), *size[2:].tolist(), len(size) - 2, function=function)


def deform(name: str, w: np.ndarray, offset: np.ndarray, mask: np.ndarray | None = None, **attributes: Any) -> Case:
    inputs = {"x": normal(1, 4, 4, 3), "w": w, "offset": offset, "b": normal(len(w)), "mask": mask}
    # onnx infers no shape of its output where x's is symbolic
    return replace(
        on_runtime("DeformConv", name, inputs, step=0.004, opset=19, symbolic=False, **attributes), rtol=2e-3
    )


def align(name: str, step: float = 0.25, **attributes: Any) -> Case:
    rois = np.asarray([[0.3, 0.6, 3.2, 4.1], [-2.2, 1.1, 2.9, 8.3], [1.2, 0.2, 2.4, 3.4]], np.float32)
    inputs = {"x": uniform(2, 2, 6, 5, low=0.5), "roi": rois, "images": ints(0, 1, 1)}
    made = on_runtime("RoiAlign", name, inputs, ("roi",), step, output_height=2, output_width=3, **attributes)
    return replace(made, rtol=1e-3)


PADDINGS = ("zeros", "border", "reflection")
POINTS = uniform(2, 3, 2, 2, low=-1.3, high=1.3)
IMAGE, VOLUME = normal(2, 2, 3, 4), normal(1, 2, 2, 3, 2)
CASES = [
    *(
        grid_sample(f"{mode}-{padding}-{corners}", IMAGE, POINTS, mode, padding, corners)
        for mode in ("bilinear", "bicubic")
        for padding in PADDINGS
        for corners in (0, 1)
    ),
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
    deform("plain", normal(2, 4, 2, 2), uniform(1, 8, 3, 2, low=-1.4, high=1.4, seed=1)),
    deform(
        "all",
        normal(2, 2, 2, 2),
        uniform(1, 16, 3, 2, low=-1.4, high=1.4),
        normal(1, 8, 3, 2),
        group=2,
        offset_group=2,
        strides=[1, 2],
        pads=[0, 1, 1, 0],
        dilations=[2, 1],
    ),
    align("average", sampling_ratio=2),
    align("adaptive", spatial_scale=0.75),
    align("whole-pixel", coordinate_transformation_mode="output_half_pixel", sampling_ratio=1),
    align("maximum", 0.001, mode="max", sampling_ratio=2),
]
