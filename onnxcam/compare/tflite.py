"""Run a TFLite classifier: scores from its interpreter (optional dependency), maps from its ONNX conversion."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcam import paths
from onnxcam import preprocess as preparing
from onnxcam.compare.array_inputs import prepared_array
from onnxcam.compare.device_runner import digest
from onnxcam.compare.observer import Observer, PreparedImage, class_of, prepared_image
from onnxcam.compare.outcome import ModelInfo, Outcome, Prediction
from onnxcam.compare.recording_files import NO_MAPS
from onnxcam.compare.tasks.classification import ClassObservation, ClassScores, class_map, class_target
from onnxcam.compare.tasks.observation import Wanted
from onnxcam.errors import ConversionError, GradientError, ImageError, ModelError
from onnxcam.media import image as pictures
from onnxcam.media.image_files import OF_NUMBERS
from onnxcam.metadata import labels as labelling
from onnxcam.model.signal_modality import SCALINGS, SignalModality
from onnxcam.model.signals import SignalInput
from onnxcam.preprocess import Preprocess, Spec, TensorSpec, layout_of
from onnxcam.structure.layout import GridLayout
from onnxcam.targets.scores import TOP, are_exclusive, to_probabilities
from onnxcam.text import first_line
from onnxcam.tflite_runtime import find_runtime

__all__ = ["Interpreter", "TFLiteObserver"]

_HEADS = {"SOFTMAX": "softmax", "LOG_SOFTMAX": "logsoftmax", "LOGISTIC": "sigmoid"}
_TRANSPARENT = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE")


class TFLiteObserver:
    """A TFLite classifier: scores from its interpreter, maps from its ONNX conversion (interpreters give no gradients).

    Arguments as for `onnxcam.compare.observer.Observer`. If the file cannot be converted, there are scores but no maps.
    ``warnings`` says which applies.
    """

    def __init__(
        self, path: Path, method: str, layer: str | None, preprocess: Spec | None, labels: Any, settings: Any
    ) -> None:
        self.interpreter = Interpreter(path)
        self.warnings: list[str] = []
        self._records = self._modality(preprocess)
        self._how: Preprocess | None = None
        if len(self.interpreter.shape) == 4:
            found = preparing.resolve(preprocess, self.interpreter.spec, path=path)
            self._how, self._source = found.preprocess, found.source
            self.warnings += found.warnings
        self.class_names = labelling.resolve(labels, self.interpreter.classes, path=path)
        self._maps, self._why = None, ""
        try:
            how = self._how or preprocess
            self._maps = Observer(_converted(path), method, layer, how, self.class_names, "cpu", settings)
            self.warnings.append(
                "the maps come from the file converted to ONNX, as the interpreter has no gradients; the scores come "
                "from the interpreter"
            )
        except (ConversionError, ModelError, GradientError) as error:
            self._why = f"the file cannot be converted: {error}"
            self.warnings.append(f"scores only, no maps: {error}")

    def _modality(self, preprocess: Spec | None) -> SignalModality:
        """Return how signals, or grids of features, become the input."""
        seen = self.interpreter
        if len(seen.shape) == 4:
            last = seen.spec.layout == "nhwc"
            layout = GridLayout(3, (1, 2)) if last else GridLayout(1, (2, 3))
        else:
            layout = GridLayout(2, (1,)) if (seen.shape[2] or 0) < (seen.shape[1] or 0) else GridLayout(1, (2,))
        spec = preprocess if preprocess in SCALINGS or len(seen.shape) == 3 else None
        source = "guess" if spec is None else "user"
        warn = self.warnings.append
        return SignalModality(SignalInput(layout, seen.shape), seen.dtype, seen.input_units, spec, warn, source)

    @property
    def info(self) -> ModelInfo:
        """Description of the model for reports."""
        seen = self.interpreter
        method = NO_MAPS if self._maps is None else self._maps.method
        layer = None if self._maps is None else self._maps.info.layer
        known = self._records.reading
        how, source = (known.value, known.source) if self._how is None else (str(self._how), self._source)
        return ModelInfo(str(seen.path), digest(seen.path), seen.kind, method, layer, how, seen.name, source)

    @property
    def meaning(self) -> dict[str, Any]:
        """Meaning of the scores, in the form of a recording."""
        seen = self.interpreter
        known = seen.units is not None or not seen.integers
        return {"head": seen.head, "exclusive": are_exclusive(seen.head), "known": known}

    @property
    def prediction(self) -> type[Prediction]:
        """Type of the predictions."""
        return ClassScores

    def check(self, target: int | str) -> None:
        """Raise TargetError if the model lacks the class *target*."""
        self.index(target)

    def same(self, outcome: Outcome) -> Wanted:
        """Return the target that means what *outcome* of another classifier explains."""
        return [ClassObservation().same(one) for one in outcome.maps]

    def index(self, target: int | str) -> int:
        """Return the index of class *target*, an index or label; `TOP` for ``"top"``. Raise TargetError for others."""
        return class_of(target, self.interpreter.classes, self.class_names)

    def prepare(self, path: str | os.PathLike[str]) -> PreparedImage:
        """Read and preprocess an image or a signal; raise ImageError if it cannot be read."""
        if self._how is None or os.fspath(path).lower().endswith(OF_NUMBERS):
            return prepared_array(self._records, path)
        return prepared_image(self._how, os.fspath(path), *pictures.read_hashed(path))

    def outcomes(
        self, prepared_images: Sequence[PreparedImage], wanted: Sequence[Wanted] | None = None
    ) -> list[Outcome]:
        """Return the outcome for each image, with the map of one class each; None: of the top class."""
        classes = [TOP if wanted is None else self.index(str(wanted[row][0])) for row in range(len(prepared_images))]
        return [self._outcome(prepared, index) for prepared, index in zip(prepared_images, classes, strict=True)]

    def _outcome(self, prepared: PreparedImage, index: int) -> Outcome:
        scores = self.interpreter.scores(prepared.tensor)
        target = int(np.argmax(scores)) if index == TOP else index
        flat = None if self._maps is None else self._maps.outcomes([prepared], [[class_target(target)]])[0].map
        head, exclusive, known = (self.meaning[name] for name in ("head", "exclusive", "known"))
        sure = to_probabilities(scores, head, exclusive=exclusive) if known else None
        return Outcome(
            picture=prepared.picture,
            sha256=prepared.sha256,
            size=prepared.size,
            prediction=ClassScores(scores.astype(np.float32), sure, head, exclusive),
            maps=(class_map(target, flat, self._why),),
            frame=prepared.frame,
        )


def _converted(path: Path) -> bytes:
    """Return the file converted to ONNX and verified; raise ConversionError if that fails."""
    from onnxcam.converters import from_tensorflow

    with tempfile.TemporaryDirectory(prefix="onnxcam-") as scratch:
        return from_tensorflow(path, Path(scratch) / "model.onnx").path.read_bytes()


class Interpreter:
    """TFLite classifier in its interpreter.

    Args:
        path: The .tflite file; its input is one image, its output one score vector, of floats or integers.

    Raises:
        ModelError: no interpreter is installed, or the file is no such classifier.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        paths.check_file(path, ModelError, "model")
        runtime = find_runtime()
        if runtime is None:
            raise ModelError("TFLite files need their interpreter; pip install 'onnxcam[tflite]'")
        self.name = runtime.name
        try:
            self._interpreter = runtime.interpreter(model_path=str(path), num_threads=1)
            self._ops: list[dict[str, Any]] = getattr(
                self._interpreter, "_get_ops_details", list
            )()  # of the file: a delegate replaces them
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"'{path}' is no TFLite model that runs: {first_line(error)}") from None
        self._input = self._only(self._interpreter.get_input_details(), 4, "takes", "one image or signal")
        self._output = self._only(self._interpreter.get_output_details(), 2, "gives", "one vector of class scores")
        self.classes = int(self._output["shape"][-1])

    @property
    def spec(self) -> TensorSpec:
        """Specification of the input tensor, with the quantisation in the file."""
        return TensorSpec(self._input["name"], self.dtype, self.shape, layout_of(self.shape), self.input_units)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of the input; None for open lengths."""
        signature = self._input["shape_signature"]
        lengths = signature if len(signature) else self._input["shape"]
        return tuple(int(length) if length > 0 else None for length in lengths)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the input."""
        return np.dtype(self._input["dtype"])

    @property
    def input_units(self) -> tuple[float, int] | None:
        """Scale and zero point of the input; None for floats, and for integers without known units."""
        scale, zero = self._input["quantization"]
        return (float(scale), int(zero)) if scale else None

    @property
    def units(self) -> tuple[float, int] | None:
        """Scale and zero point of the scores; None for floats, and for integers without known units."""
        scale, zero = self._output["quantization"]
        return (float(scale), int(zero)) if scale else None

    @property
    def integers(self) -> bool:
        """Whether the scores are integers."""
        return bool(np.issubdtype(self._output["dtype"], np.integer))

    @property
    def kind(self) -> str:
        """Data type of the weights."""
        details = self._interpreter.get_tensor_details()
        quantised = any(len(one["quantization_parameters"]["scales"]) and one["dtype"] == np.int8 for one in details)
        return "tflite int8" if quantised else "tflite float32"

    @property
    def head(self) -> str | None:
        """Last operator: ``"softmax"``, ``"logsoftmax"``, ``"sigmoid"``, or None for plain scores."""
        makers = {int(y): op for op in self._ops for y in op["outputs"]}
        op = makers.get(self._output["index"])
        while op is not None and op["op_name"] in _TRANSPARENT:
            op = makers.get(int(op["inputs"][0]))
        return None if op is None else _HEADS.get(op["op_name"])

    def scores(self, tensor: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores, float64 [K], of one preprocessed image [1, …]; dequantised if the units are known."""
        index = self._input["index"]
        if tuple(self._input["shape"]) != tensor.shape:
            try:
                self._interpreter.resize_tensor_input(index, tensor.shape, strict=True)
                self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError):
                wanted = [int(length) for length in self._input["shape"]]
                if len(wanted) == 3:
                    raise ImageError(
                        f"the signal became {list(tensor.shape)}, but '{self.path}' takes {wanted}"
                    ) from None
                raise ImageError(
                    f"the image became a tensor {list(tensor.shape)}, but '{self.path}' takes {wanted}; "
                    f"add crop={wanted[1]}x{wanted[2]} to the preprocessing"
                ) from None
        self._interpreter.set_tensor(index, np.ascontiguousarray(tensor))
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._output["index"]).reshape(-1).astype(np.float64)
        scale, zero = self.units or (1.0, 0)
        real: NDArray[np.float64] = (found - zero) * scale
        return real

    def _only(self, details: Sequence[dict[str, Any]], rank: int, verb: str, wanted: str) -> dict[str, Any]:
        """Return the only tensor in *details*; raise ModelError unless it has *rank* (axes of length 1 ignored)."""
        if len(details) == 1:
            long = [length for length in details[0]["shape"][1:] if length != 1]
            if len(details[0]["shape"]) in (3, 4) if rank == 4 else len(long) <= 1:
                return details[0]
        shapes = ", ".join(f"{one['name']!r} {list(map(int, one['shape']))}" for one in details)
        raise ModelError(f"'{self.path}' {verb} {shapes}; recordings are of classifiers, with {wanted}")
