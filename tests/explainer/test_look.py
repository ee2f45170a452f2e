"""How explanations of images are drawn: what the network does not see, and maps of single pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxcam import Explainer
from onnxcam.errors import OutputError
from tests.batching.pictures import SHAPES


@pytest.fixture(scope="module")
def wide() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (96, 200, 3), np.uint8)


@pytest.mark.parametrize("method", ["gradcam", "gradient"])
@pytest.mark.parametrize("opacity", ["value", 0.5])
def test_outside_of_a_centre_crop_the_picture_stays_itself(
    wide: NDArray[np.uint8], method: str, opacity: float
) -> None:
    found = Explainer(SHAPES, method=method, preprocess="resize=96,crop=96")(wide)
    assert found.seen == (52, 0, 148, 96)
    assert found.is_of_pixels == (method == "gradient")
    drawn, shown = found.overlay(opacity), wide
    if method == "gradient" and opacity == "value":
        assert (drawn[:, :40].min(), np.ptp(drawn[:, :40], axis=-1).max()) >= (170, 0)  # pale grey
        return
    np.testing.assert_array_equal(drawn[:, :50], shown[:, :50])
    np.testing.assert_array_equal(drawn[:, 150:], shown[:, 150:])
    assert (drawn[:, 60:140] != shown[:, 60:140]).any()


def test_what_sees_the_whole_picture_has_no_frame(wide: NDArray[np.uint8]) -> None:
    for preprocess in ("resize=96x96", "letterbox=96"):
        assert Explainer(SHAPES, preprocess=preprocess)(wide).seen is None


def test_an_overlay_refuses_what_it_does_not_know(wide: NDArray[np.uint8]) -> None:
    found = Explainer(SHAPES, preprocess="resize=96x96")(wide)
    with pytest.raises(OutputError, match="no colormap is called 'jut'"):
        found.overlay(colormap="jut")
    with pytest.raises(OutputError, match="the opacity is 'half'; it is value, or a number from 0 to 1"):
        found.save("nowhere", opacity="half")  # type: ignore[arg-type]
