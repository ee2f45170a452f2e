"""Convert to float16 or int8 with the tools of ONNX Runtime. Tensor names and the card are kept."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.autodiff.rules import STANDARD
from onnxcam.errors import ConversionError, OnnxcamError
from onnxcam.graph.io import load, to_proto
from onnxcam.media import image as pictures
from onnxcam.passes.shapes import infer_shapes
from onnxcam_converters.framework_errors import innermost_message

__all__ = ["PRECISIONS", "calibration_images", "to_float16", "to_int8"]

PRECISIONS = ("float32", "fp16", "int8")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def to_float16(model: ir.Model) -> ir.Model:
    """Return *model* in float16; inputs and outputs keep their dtype."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    infer_shapes(model, STANDARD.compositions)
    with _quiet():
        proto = convert_float_to_float16(to_proto(model), keep_io_types=True, disable_shape_infer=True)
    made = ir.serde.deserialize_model(proto)
    made.graph.sort()  # the tool appends its Cast nodes at the end
    return _renewed(made, model)


def to_int8(model: ir.Model, folder: Path, picture: str, preprocess: Callable[[Any], Any], calibrate: Path) -> ir.Model:
    """Return *model* quantised to int8 (QDQ, per channel).

    Args:
        model: The float32 model.
        folder: Folder for temporary files.
        picture: Name of the image input.
        preprocess: Function from an image, uint8 [H, W, 3], to the input tensor.
        calibrate: Folder of images on which the ranges of activations are measured.

    Raises:
        ConversionError: *calibrate* has no images, or ONNX Runtime cannot quantise the model.
    """
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    feeds = ({picture: preprocess(pictures.read(file))} for file in calibration_images(calibrate))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(feeds, None)

    written = folder / "int8.onnx"
    try:
        with _quiet():
            quantize_static(
                to_proto(model),
                written,
                Reader(),
                per_channel=True,
                extra_options={"QDQKeepRemovableActivations": True},  # keep the output of a ReLU as a layer
            )
    except OnnxcamError:
        raise
    except Exception as error:
        raise ConversionError(
            f"ONNX Runtime cannot quantise the model: {innermost_message(error)}; use --precision fp16"
        ) from error
    return _renewed(load(written), model)


def calibration_images(folder: Path) -> list[Path]:
    """Return the images in *folder* and its subfolders, sorted; ConversionError if there are none."""
    found = (
        sorted(file for file in folder.rglob("*") if file.suffix.lower() in _IMAGE_SUFFIXES) if folder.is_dir() else []
    )
    if not found:
        raise ConversionError(
            f"no calibration images in '{folder}' ({', '.join(_IMAGE_SUFFIXES)}); give a folder of a few hundred "
            "typical images"
        )
    return found


def _renewed(model: ir.Model, before: ir.Model) -> ir.Model:
    model.metadata_props.update(before.metadata_props)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress advice of the tools, which they print or log to the root logger."""
    root, level = logging.getLogger(), logging.getLogger().level
    try:
        root.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
