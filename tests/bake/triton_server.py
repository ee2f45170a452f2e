"""A small server of a model repository: Open Inference Protocol (KServe v2) over HTTP, with binary tensors.

It reads config.pbtxt with Triton's own schema, checks requests against it as Triton does, and runs ONNX Runtime.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

WIRE = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "BOOL": "?"}
WIRE |= {f"{sign}INT{bits}": f"<{sign.lower() or 'i'}{bits // 8}" for sign in ("", "U") for bits in (8, 16, 32, 64)}
"""NumPy's types of the protocol's."""


def parsed(text: str) -> Any:
    """Parse a config.pbtxt by the schema that Triton reads it with."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


class Served:
    """One model of a repository."""

    def __init__(self, folder: Path) -> None:
        self.config = parsed((folder / "config.pbtxt").read_text("utf-8"))
        self.session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"))
        theirs = {one.name: one for one in (*self.session.get_inputs(), *self.session.get_outputs())}
        for one in (*self.config.input, *self.config.output):  # Triton's backend refuses a file of other tensors
            shape = self.inside(one)
            assert len(theirs[one.name].shape) == len(shape), one.name
            for said, known in zip(shape, theirs[one.name].shape, strict=True):
                assert said == (known if isinstance(known, int) else -1), one.name
        assert {one.name for one in self.config.input} == {one.name for one in self.session.get_inputs()}

    @property
    def batch(self) -> list[int]:
        return [-1] if self.config.max_batch_size else []

    def shape(self, one: Any) -> list[int]:
        """Return the shape that clients see."""
        return [*self.batch, *one.dims]

    def inside(self, one: Any) -> list[int]:
        """Return the shape that the file has."""
        return [*self.batch, *(one.reshape.shape if one.HasField("reshape") else one.dims)]

    def metadata(self) -> dict[str, Any]:
        kinds = {"inputs": self.config.input, "outputs": self.config.output}
        return {"name": self.config.name, "versions": ["1"], "platform": "onnxruntime_onnx"} | {
            kind: [{"name": one.name, "datatype": datatype(one), "shape": self.shape(one)} for one in values]
            for kind, values in kinds.items()
        }

    def run(self, feeds: dict[str, np.ndarray], wanted: list[str]) -> list[tuple[Any, np.ndarray]]:
        own = {one.name: one for one in self.config.input}
        if feeds.keys() != own.keys():
            raise ValueError(f"expected inputs {sorted(own)}, got {sorted(feeds)}")
        for name, x in feeds.items():
            shape = self.shape(own[name])
            fits = len(x.shape) == len(shape) and all(s in (-1, n) for s, n in zip(shape, x.shape, strict=True))
            if not fits or x.dtype != WIRE[datatype(own[name])]:
                raise ValueError(f"unexpected shape or type of {name}: {x.dtype} {x.shape}, expected {shape}")
            if self.config.max_batch_size and len(x) > self.config.max_batch_size:
                raise ValueError(f"the batch-size must be <= {self.config.max_batch_size}")
        shaped = {name: self._reshaped(x, self.inside(own[name])) for name, x in feeds.items()}
        known = {one.name: one for one in self.config.output}
        found = self.session.run(wanted or list(known), shaped)
        return [
            (known[name], self._reshaped(y, self.shape(known[name])))
            for name, y in zip(wanted or known, found, strict=True)
        ]

    def _reshaped(self, x: np.ndarray, shape: list[int]) -> np.ndarray:
        return x.reshape([*x.shape[: len(self.batch)], *shape[len(self.batch) :]]) if x.ndim != len(shape) else x


def datatype(one: Any) -> str:
    """Return the protocol's name of the type of a tensor in config.pbtxt."""
    from tritonclient.grpc import model_config_pb2

    return model_config_pb2.DataType.Name(one.data_type).removeprefix("TYPE_")


class _Handler(BaseHTTPRequestHandler):
    models: dict[str, Served]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if re.fullmatch(r"/v2/health/(live|ready)", self.path):
            self.answer(200)
        elif found := re.fullmatch(r"/v2/models/([^/]+)(/ready)?", self.path):
            known = found[1] in self.models
            body = b"" if found[2] or not known else json.dumps(self.models[found[1]].metadata()).encode()
            self.answer(200 if known else 404, body)
        else:
            self.answer(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        header = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        found = re.fullmatch(r"/v2/models/([^/]+)/infer", self.path)
        try:
            asked = json.loads(body[:header])
            feeds = tensors(asked["inputs"], body[header:])
            wanted = asked.get("outputs", [])
            made = self.models[found[1]].run(feeds, [one["name"] for one in wanted]) if found else []
        except ValueError as error:
            self.answer(400, json.dumps({"error": str(error)}).encode())
            return
        every = asked.get("parameters", {}).get("binary_data_output", False)
        binary = {one["name"]: one.get("parameters", {}).get("binary_data", every) for one in wanted}
        described, data = [], b""
        for one, y in made:
            entry: dict[str, Any] = {"name": one.name, "datatype": datatype(one), "shape": list(y.shape)}
            if binary.get(one.name, every):
                raw = y.astype(WIRE[datatype(one)]).tobytes()
                entry["parameters"], data = {"binary_data_size": len(raw)}, data + raw
            else:
                entry["data"] = y.ravel().tolist()
            described.append(entry)
        text = json.dumps(
            {"model_name": found[1] if found else "", "model_version": "1", "outputs": described}
        ).encode()
        self.answer(200, text + data, {"Inference-Header-Content-Length": str(len(text))} if data else {})

    def answer(self, code: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def tensors(described: list[dict[str, Any]], data: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a request, from JSON or from the bytes behind it."""
    found, at = {}, 0
    for one in described:
        kind, size = np.dtype(WIRE[one["datatype"]]), one.get("parameters", {}).get("binary_data_size")
        if size is None:
            x = np.array(one["data"], kind)
        elif size != kind.itemsize * math.prod(one["shape"]):
            raise ValueError(f"unexpected size of {one['name']}")
        else:
            x, at = np.frombuffer(data[at : at + size], kind), at + size
        found[one["name"]] = x.reshape(one["shape"])
    return found


@contextmanager
def serving(repository: Path) -> Iterator[str]:
    """Serve the models of *repository* on this machine; yield ``host:port``."""
    models = {folder.name: Served(folder) for folder in sorted(repository.iterdir())}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"models": models}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
