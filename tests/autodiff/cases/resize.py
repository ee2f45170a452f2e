"""Cases for onnxcam.autodiff.rules.resize.

Where lengths are rounded, the reference evaluator aligns corners with the length before rounding, ONNX Runtime with
that after it; the rule follows whoever runs it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.autodiff.cases import Case, case, ints, normal
from tests.autodiff.cases.on_runtime import on_runtime


def floats(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def resize(
    name: str,
    shape: Sequence[int],
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    roi: Sequence[float] | None = None,
    constants: tuple[str, ...] = ("roi", "scales", "sizes"),
    **options: Any,
) -> Case:
    inputs = {
        "x": normal(*shape),
        "roi": None if roi is None else floats(*roi),
        "scales": None if scales is None else floats(*scales),
        "sizes": None if sizes is None else ints(*sizes),
    }
    while inputs and list(inputs.values())[-1] is None:
        inputs.popitem()
    given = tuple(name for name in constants if inputs.get(name) is not None)
    return case("Resize", name, inputs, given, **options)


CROP = {"coordinate_transformation_mode": "tf_crop_and_resize"}
PARTLY_OUTSIDE = [0, 0, 0.2, 0.3, 1, 1, 0.8, 1.2]
SPATIAL = {"axes": [2, 3]}
ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric"}
# ONNX infers no shape of y from sizes or scales that are inputs, unless those of x are known.
AT_RUN_TIME: dict[str, Any] = {"order": 1, "symbolic": False}
GRID = {"x": normal(1, 2, 4, 5), "roi": None, "scales": None}
GIVEN = ("roi", "scales", "sizes")
CROPPED = {"roi": floats(*PARTLY_OUTSIDE), "sizes": ints(1, 2, 7, 3)}

ROUNDED = [1, 1, 1.7, 0.7]  # of a grid of 4 × 5
ALIGNED = {"coordinate_transformation_mode": "align_corners"}
COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

CASES = [
    resize("nearest", (1, 2, 3, 4), [1, 1, 2, 3]),
    resize("nearest-floor", (1, 2, 3, 4), [1, 1, 2, 3], nearest_mode="floor", **ASYMMETRIC),
    resize("nearest-1d-twice", (2, 2, 3), [1, 1, 2], **ASYMMETRIC),
    resize("nearest-thrice-by-rounding", (1, 1, 2, 3), [1, 1, 3, 1], **ASYMMETRIC),
    resize("nearest-rest", (1, 2, 3, 5), [1, 1, 1.6, 0.7]),
    resize("nearest-down", (1, 2, 6, 5), sizes=[1, 2, 3, 2]),
    resize("nearest-1d", (2, 2, 3), [1, 1, 2.5]),
    resize("nearest-batch", (2, 3, 2, 2), [2, 1.5, 2, 1]),
    resize("linear", (1, 2, 3, 4), [1, 1, 2, 1.5], mode="linear"),
    resize("linear-idle-roi", (1, 2, 3, 4), [1, 1, 2, 1.5], roi=[0, 0, 0, 0, 1, 1, 1, 1], mode="linear"),
    resize("linear-down", (1, 2, 6, 5), sizes=[1, 2, 3, 2], mode="linear"),
    resize("linear-2d", (3, 4), [1.5, 2], mode="linear"),
    resize("linear-3d", (1, 2, 2, 3, 2), sizes=[1, 2, 3, 4, 3], mode="linear"),
    resize("linear-axes", (1, 2, 3, 4), sizes=[5, 7], axes=[3, 2], mode="linear"),
    resize("linear-aligned", (1, 1, 4, 5), [1, 1, 1.5, 0.6], mode="linear", **ALIGNED),
    resize("linear-aligned-one", (1, 2, 3, 4), sizes=[1, 2, 1, 7], mode="linear", **ALIGNED),
    resize("linear-runtime-sizes", (1, 2, 3, 4), sizes=[1, 2, 5, 6], constants=(), mode="linear", **AT_RUN_TIME),
    resize("linear-runtime-scales", (1, 2, 3, 4), [1, 1, 1.5, 2], constants=(), mode="linear", **AT_RUN_TIME),
    resize("linear-antialias", (1, 2, 7, 6), sizes=[1, 2, 3, 4], mode="linear", antialias=1),
    resize("cubic", (1, 2, 4, 5), [1, 1, 2, 1.5], mode="cubic"),
    resize("cubic-inside", (1, 2, 4, 5), [1, 1, 0.8, 1.5], mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    resize("cubic-antialias", (1, 2, 7, 6), sizes=[1, 2, 3, 4], mode="cubic", antialias=1),
    resize(
        "crop", (1, 2, 4, 5), sizes=[1, 2, 3, 4], roi=PARTLY_OUTSIDE, mode="linear", extrapolation_value=7.0, **CROP
    ),
    resize("crop-axes", (1, 2, 4, 5), sizes=[3, 4], roi=[0.2, -0.3, 0.8, 0.9], mode="linear", axes=[2, 3], **CROP),
    resize("not-larger", (1, 2, 3, 4), sizes=[7, 7], mode="linear", keep_aspect_ratio_policy="not_larger", **SPATIAL),
    resize("not-smaller", (1, 2, 4, 3), sizes=[6, 6], keep_aspect_ratio_policy="not_smaller", **SPATIAL),
    *(
        resize(f"linear-{mode}", (1, 1, 4, 5), ROUNDED, mode="linear", coordinate_transformation_mode=mode)
        for mode in COORDINATES
    ),
    *(
        resize(
            f"nearest-{mode}-{rounding}",
            (1, 1, 4, 5),
            ROUNDED,
            coordinate_transformation_mode=mode,
            nearest_mode=rounding,
        )
        for mode in COORDINATES
        for rounding in ROUNDINGS
    ),
    on_runtime(
        "Resize", "linear-rounded-aligned", GRID | {"scales": floats(*ROUNDED)}, GIVEN, mode="linear", **ALIGNED
    ),
    *(
        on_runtime(
            *("Resize", f"sizes-{mode}-{coordinates}", GRID | {"sizes": ints(1, 2, 7, 3)}, GIVEN),
            mode=mode,
            coordinate_transformation_mode=coordinates,
        )
        for mode in ("nearest", "linear", "cubic")
        for coordinates in (*COORDINATES, "align_corners")
    ),
    *(
        on_runtime("Resize", f"crop-{mode}", GRID | CROPPED, GIVEN, mode=mode, **CROP)
        for mode in ("nearest", "linear", "cubic")
    ),
]
