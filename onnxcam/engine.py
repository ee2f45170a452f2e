"""ONNX Runtime: sessions and execution providers. The only importer of onnxruntime."""

from __future__ import annotations

import importlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxcam import text
from onnxcam.errors import EngineError, ProviderError, nearest
from onnxcam.graph.io import to_bytes
from onnxcam.graph.weights import weights_folder

__all__ = [
    "SHORT",
    "Serialized",
    "Session",
    "available",
    "limit_threads",
    "optimised",
    "provider_name",
    "register_custom_ops",
    "terminate",
    "time_limit",
]

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
"""Short names of ONNX Runtime's execution providers; its own names work too."""


@dataclass(frozen=True)
class Serialized:
    """A model as the content of an ``.onnx`` file, and the folder of its weight files, None where it has none."""

    data: bytes
    folder: str | None


class Session:
    """A session of ONNX Runtime: built once, run many times.

    Args:
        model: The model; the session copies its weights.
        provider: ``"auto"`` (CUDA where it works, else CPU), a short name (`SHORT`), or ONNX Runtime's own name.
        optimize: Let ONNX Runtime optimise the graph and pack weights; without, the session is ready sooner, takes less
            memory, returns it after each run, and runs slower.
        keep: A file to which the optimised graph is written; its optimisations suit any CPU.
        spin: Let idle threads spin. Runs in a row are then faster; without, other threads get the processor.

    Attributes:
        provider: ONNX Runtime's name of the provider that runs the model.
        inputs: The names of the inputs.
        outputs: The names of the outputs.

    Raises:
        ProviderError: the provider is not available, or ONNX Runtime is not installed.
        EngineError: ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        model: ir.Model | Serialized,
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
        if _THREADS:
            options.intra_op_num_threads = _THREADS[-1]
        if not spin:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not optimize:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.enable_cpu_mem_arena = False
        if keep is not None:
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            options.optimized_model_filepath = keep
        given = model if isinstance(model, Serialized) else Serialized(to_bytes(model), weights_folder(model))
        if given.folder is not None:
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", given.folder)
        self._runtime = runtime
        self._session = self._create(given.data, options, provider)
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
            raise EngineError(f"ONNX Runtime refuses the model: {_refusal(error)}") from error
        if session.get_providers()[0] != wanted and provider != "auto":
            raise ProviderError(
                f"{wanted} is in this onnxruntime but could not start; check its driver and libraries "
                "(onnxruntime-gpu from PyPI wants CUDA 13 and cuDNN 9), or use --provider cpu"
            )
        return session

    def filled(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the inputs among *feeds*, those of one image repeated in every row of an input of fixed batch size."""
        found = {name: feeds[name] for name in self.inputs}
        for value in self._session.get_inputs():
            rows, x = (*value.shape, None)[0], found[value.name]
            if isinstance(rows, int) and rows > 1 and x.shape[:1] == (1,):
                found[value.name] = np.repeat(x, rows, axis=0)
        return found

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Return the *outputs* (default: all) by name, as arrays in host memory.

        On a GPU only the outputs are copied to host memory. EngineError where ONNX Runtime fails, for example on inputs
        of a wrong shape.
        """
        names = list(self.outputs if outputs is None else outputs)
        try:
            with _running(self._runtime) as how:
                if self.provider == SHORT["cpu"]:
                    results = self._session.run(names, dict(feeds), how)
                else:
                    results = self._run_bound(feeds, names, how)
        except Exception as error:
            raise EngineError(f"ONNX Runtime failed: {_failure(error, self._session.get_inputs())}") from error
        return dict(zip(names, results, strict=True))

    def run_in_pieces(
        self, feeds: Mapping[str, np.ndarray], size: int, outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Return what `run` returns, for any number of rows: each run takes *size*, the model's fixed batch size."""
        count = len(next(iter(feeds.values())))
        pieces = []
        for start in range(0, count, size):
            rows: slice | list[int] = slice(start, start + size)
            if start + size > count:
                rows = [min(start + i, count - 1) for i in range(size)]  # repeat the last row
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
    """Return *model* as ONNX Runtime optimises it for any CPU, with ONNX Runtime's own fused operators.

    The weights of the returned model cannot be read. EngineError where ONNX Runtime refuses the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "optimised.onnx")
        Session(model, "cpu", keep=path)
        return ir.load(path)


_RUNS: set[Any] = set()  # the options of the current runs


@contextmanager
def _running(runtime: Any) -> Iterator[Any]:
    """Yield options for one run, through which `terminate` ends it."""
    how = runtime.RunOptions()
    _RUNS.add(how)
    try:
        yield how
    finally:
        _RUNS.discard(how)


def terminate() -> None:
    """End all current runs: each raises EngineError. It is called from another thread, or from a signal handler."""
    for how in list(_RUNS):
        how.terminate = True


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the runs of the block that are still going after *seconds*: each raises EngineError."""
    timer = threading.Timer(seconds, terminate)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_LIBRARIES: list[str] = []


def register_custom_ops(library: str | os.PathLike[str]) -> None:
    """Make the custom operators of a shared *library* available to all later sessions of this process.

    ``"onnxruntime_extensions"`` is the library of that package.

    Raises:
        EngineError: ONNX Runtime cannot load the library.

    Example:
        >>> register_custom_ops("onnxruntime_extensions")
    """
    path = _of_extensions() if os.fspath(library) in _EXTENSIONS else os.fspath(library)
    try:
        _onnxruntime().SessionOptions().register_custom_ops_library(path)
    except Exception as error:
        raise EngineError(
            f"ONNX Runtime cannot load the operators of '{path}': {_reason(error)}; build it for this onnxruntime"
        ) from error
    if path not in _LIBRARIES:
        _LIBRARIES.append(path)


_EXTENSIONS = ("onnxruntime_extensions", "onnxruntime-extensions")


def _of_extensions() -> str:
    """Return the path of the library of onnxruntime-extensions."""
    try:
        return str(importlib.import_module(_EXTENSIONS[0]).get_library_path())
    except ImportError as error:
        raise EngineError(f"{_EXTENSIONS[0]} is not installed: pip install {_EXTENSIONS[1]}") from error


_THREADS: list[int] = []


def limit_threads(count: int) -> None:
    """Let all later sessions of this process compute in *count* threads.

    ONNX Runtime takes one for each core of the machine, whatever share of it a container or a job may use.
    """
    _THREADS[:] = [count]


def available() -> list[str]:
    """Return ONNX Runtime's names of the installed execution providers, in its order of preference."""
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
            f"{hint}.{'' if provider.lower() in SHORT else nearest(provider, SHORT)}"
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


_NOISE = (
    (r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", ""),
    (r"\s*Stacktrace:(?s:.*)", ""),
    (r"Please fix either the inputs/outputs or the model\.", ""),
    (r"Non-zero status code returned while running (\w+) node\. Name:'(.*?)' Status Message:", r"\1 node '\2':"),
    (r"[^\s'\"]+\.(?:cc|cpp|cuh?|h|hpp):\d+ ", ""),  # the line in its source, and the function
    (r"(\w+) node 'onnxcam\.[^']*':", r"\1 in the gradient:"),
    (r"[Nn]ode:? ?\(onnxcam\.[^)]*\) Op \((\w+)\)", r"\1 in the gradient"),
    (
        r"Invalid rank for input: onnxcam\.\S+ Got: (\d+) Expected: (\d+)",
        r"the target has \1 axes in this run, and \2 by the file",
    ),
    (r"Got invalid dimensions for input: onnxcam\.\S+", "the target has other lengths in this run than by the file:"),
    (r"'?\bonnxcam\.[\w.]+'?", "a tensor of the gradient"),
    (r"(?:[\w:<>&*]+ )?onnxruntime::[\w:~<>]+\(.*?\)(?: const)?(?: \[with [^\]]*\])? ", ""),
)
"""Parts of ONNX Runtime's messages that do not help its users, and their replacements."""

_INNER = "onnxcam."
"""The prefix of what onnxcam adds to a model: its users do not know these nodes and inputs."""
_DECLARED = "; a tensor has another shape than its file says: correct the declared shapes, or export the model again"

_LONGEST = 600  # characters of a message

_FEEDS = r"dimensions for input|rank for input|input data type|Required inputs|Invalid input name|Invalid Feed"
_ADVICE = (
    (r"terminate flag", ""),
    (r"memory|bad_alloc|Arena", "; use a smaller batch_size, or --provider cpu"),
    (r"not a registered function/op|Could not find an implementation|No Op registered|NOT_IMPLEMENTED",
     "; use a newer onnxruntime, or give the library that has the operator: --custom-ops LIBRARY, or --custom-ops "
     "onnxruntime_extensions for those of the package onnxruntime-extensions (in Python engine.register_custom_ops)"),
    (r"Unsupported model IR version|under development|opset \d+ is|guarantees? support for models stamped",
     "; use a newer onnxruntime, or export the model for an older opset"),
)  # fmt: skip
"""What to do, by a pattern in the message."""


def _refusal(error: Exception) -> str:
    """Return why ONNX Runtime does not open a model, and what to do."""
    other = _DECLARED if _INNER in str(error) else "; export the model again"
    return f"{_reason(error)}{_advice(error, other)}"


def _failure(error: Exception, inputs: Sequence[Any]) -> str:
    """Return why a run failed, and what to do; *inputs* are the session's."""
    own = [x for x in inputs if not x.name.startswith(_INNER)]
    taken = ", ".join(f"{x.name!r} {x.type} [{', '.join(map(str, x.shape))}]" for x in own)
    takes = f"; the model takes {text.plain(taken, _LONGEST)}"
    other = takes if re.search(_FEEDS, str(error)) else "; check the input's shape and values, or take another provider"
    return f"{_reason(error)}{_advice(error, _DECLARED if _INNER in str(error) else other)}"


def _advice(error: Exception, other: str) -> str:
    return next((advice for pattern, advice in _ADVICE if re.search(pattern, str(error))), other)


def _reason(error: Exception) -> str:
    """Return ONNX Runtime's message on one line, without its error code and the place in its source."""
    found = str(error)
    for pattern, instead in _NOISE:
        found = re.sub(pattern, instead, found)
    return text.plain(found, _LONGEST).rstrip(". ") or type(error).__name__
