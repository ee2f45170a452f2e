"""Cases for onnxcam.autodiff.rules.regions."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.autodiff.cases import Case, ints, normal, uniform
from tests.autodiff.cases.on_runtime import RuntimeCase, on_runtime
from tests.autodiff.cases.sampling import check_twice


@dataclass(frozen=True)
class Deformed(RuntimeCase):
    """ONNX Runtime against its differences, then the gradient of the gradient."""

    def run(self, symbolic: bool = False) -> None:
        super().run(symbolic)
        if not symbolic:
            check_twice(self)


def deform(name: str, w: np.ndarray, offset: np.ndarray, mask: np.ndarray | None = None, **attributes: Any) -> Case:
    inputs = {"x": normal(1, 4, 4, 3), "w": w, "offset": offset, "b": normal(len(w)), "mask": mask}
    once = on_runtime("DeformConv", name, inputs, step=0.004, opset=19, **attributes)
    return Deformed(**{**vars(once), "rtol": 2e-3})


def align(name: str, step: float = 0.25, **attributes: Any) -> Case:
    rois = np.asarray([[0.3, 0.6, 3.2, 4.1], [-2.2, 1.1, 2.9, 8.3], [1.2, 0.2, 2.4, 3.4]], np.float32)
    inputs = {"x": uniform(2, 2, 6, 5, low=0.5), "roi": rois, "images": ints(0, 1, 1)}
    made = on_runtime("RoiAlign", name, inputs, ("roi",), step, output_height=2, output_width=3, **attributes)
    return replace(made, rtol=1e-3)


CASES = [
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
