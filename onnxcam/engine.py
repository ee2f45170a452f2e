"""ONNX Runtime: sessions and execution providers. The only importer of onnxruntime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam.errors import EngineError, ProviderError, nearest
from onnxcam.graph.io import to_bytes
from onnxcam.graph.weights import weights_folder
from onnxcam.text import first_line

SHORT = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
"""What users call ONNX Runtime's execution providers; its own names are accepted too."""


class Session:
    """A model on ONNX Runtime: made once, run many times.

    Args:
        model: The model; its weights are no longer needed once the session stands.
        provider: ``"auto"`` (CUDA where it works, else CPU), a short name (`SHORT`), or ONNX Runtime's own.
        optimize: Whether ONNX Runtime optimises the graph. Without, the session is ready sooner and runs slower.
        keep: A file for the graph as it is optimised for any machine's CPU.
        spin: Whether idle threads wait awake, which makes one run after another faster; asleep they leave the
            processor to those who read the next pictures meanwhile.

    Raises:
        ProviderError: the provider is not there, or ONNX Runtime is not installed.
        EngineError: ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        model: ir.Model,
        provider: str = "auto",
        *,
        optimize: bool = True,
        keep: str | None = None,
        spin: bool = True,
    ) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.log_severity_level = 4
        for library in _LIBRARIES:
            options.register_custom_ops_library(library)
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if keep is not None:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = keep
        folder = weights_folder(model)
        if folder is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        self._runtime = runtime
        self._session = self._create(to_bytes(model), options, provider)
        self.provider: str = self._session.get_providers()[0]
        self.inputs: list[str] = [value.name for value in self._session.get_inputs()]
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]

    def _create(self, data: bytes, options: Any, provider: str) -> Any:
        wanted = provider_name(provider)
        if wanted is None:
            wanted = SHORT["cuda"] if SHORT["cuda"] in available() else SHORT["cpu"]
        if wanted == SHORT["cuda"] and hasattr(self._runtime, "preload_dlls"):
            self._runtime.preload_dlls()
        providers = list(dict.fromkeys([wanted, SHORT["cpu"]]))
        try:
            session = self._runtime.InferenceSession(data, options, providers=providers)
        except Exception as error:
            raise EngineError(f"ONNX Runtime refuses the model: {_reason(error)}") from error
        if session.get_providers()[0] != wanted and provider != "auto":
            raise ProviderError(
                f"{wanted} is in this onnxruntime but could not start; check its driver and libraries "
                "(onnxruntime-gpu from PyPI wants CUDA 13 and cuDNN 9), or use --provider cpu"
            )
        return session

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the *outputs* (default: all) by name, as arrays in host memory.

        On a device the run is bound to device memory, so that only what is asked for is copied back. Raises
        EngineError where ONNX Runtime fails, on inputs of the wrong shape, say.
        """
        names = list(self.outputs if outputs is None else outputs)
        try:
            with _running(self._runtime) as how:
                if self.provider == SHORT["cpu"]:
                    results = self._session.run(names, dict(feeds), how)
                else:
                    results = self._run_bound(feeds, names, how)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_reason(error)}") from error
        return dict(zip(names, results, strict=True))

    def run_in_pieces(
        self, feeds: Mapping[str, np.ndarray], size: int, outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Return what `run` does for *feeds* of any length, *size* rows at a time: for a model of a fixed batch."""
        count = len(next(iter(feeds.values())))
        pieces = []
        for start in range(0, count, size):
            rows: slice | list[int] = slice(start, start + size)
            if start + size > count:
                rows = [min(start + i, count - 1) for i in range(size)]  # the last row fills a short piece
            pieces.append(self.run({name: array[rows] for name, array in feeds.items()}, outputs))
        joined = {name: np.concatenate([np.atleast_1d(piece[name]) for piece in pieces]) for name in pieces[0]}
        return {name: value[:count] for name, value in joined.items()}

    def _run_bound(self, feeds: Mapping[str, np.ndarray], names: Sequence[str], how: Any) -> list[np.ndarray]:
        binding = self._session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding, how)
        return list(binding.copy_outputs_to_cpu())


def optimised(model: ir.Model) -> ir.Model:
    """Return the graph that ONNX Runtime makes of *model* for any machine's CPU, its own fused operators in it.

    Its weights cannot be read. EngineError where ONNX Runtime refuses the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "optimised.onnx")
        Session(model, "cpu", keep=path)
        return ir.load(path)


_RUNS: set[Any] = set()  # the options of each run that is going on


@contextmanager
def _running(runtime: Any) -> Iterator[Any]:
    """Yield options for one run, by which `terminate` can end it."""
    how = runtime.RunOptions()
    _RUNS.add(how)
    try:
        yield how
    finally:
        _RUNS.discard(how)


def terminate() -> None:
    """End all runs that are going on: each raises EngineError. Another thread, or a signal's, calls it."""
    for how in list(_RUNS):
        how.terminate = True


_LIBRARIES: list[str] = []


def register_custom_ops(library: str | os.PathLike[str]) -> None:
    """Have all sessions of this process know the operators in a shared *library* made for ONNX Runtime.

    Raises:
        EngineError: ONNX Runtime cannot load it.

    Example:
        >>> register_custom_ops(onnxruntime_extensions.get_library_path())
    """
    path = os.fspath(library)
    try:
        _onnxruntime().SessionOptions().register_custom_ops_library(path)
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot load the operators of '{path}': {_reason(error)}") from error
    if path not in _LIBRARIES:
        _LIBRARIES.append(path)


def available() -> list[str]:
    """Return ONNX Runtime's names of the execution providers that are installed, the preferred first."""
    return list(_onnxruntime().get_available_providers())


def provider_name(provider: str) -> str | None:
    """Return ONNX Runtime's name of *provider*, None for ``"auto"``; ProviderError where it is not installed."""
    if provider == "auto":
        return None
    installed = available()
    name = SHORT.get(provider.lower(), provider)
    if name not in installed:
        known = {short: long for short, long in SHORT.items() if long in installed}
        hint = "; pip install onnxruntime-gpu in place of onnxruntime" if name == SHORT["cuda"] else ""
        raise ProviderError(
            f"no execution provider {provider!r} in this onnxruntime; there is {', '.join(['auto', *known])}"
            f"{hint}.{nearest(provider, SHORT)}"
        )
    return name


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            f"ONNX Runtime cannot be imported ({error}); pip install 'onnxcam[cpu]' or 'onnxcam[gpu]'"
        ) from None
    return onnxruntime


def _reason(error: Exception) -> str:
    """Return ONNX Runtime's message without its error code prefix."""
    text = first_line(error)
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
