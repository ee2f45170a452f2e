"""A small network, saved by PyTorch and by TensorFlow: ``python -m tests.fuzz.frameworks torch FOLDER``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def network() -> Any:
    """Return the network of PyTorch."""
    import torch

    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(4, 3)).eval()


def _torch(folder: Path) -> None:
    import torch

    made, example = network(), torch.zeros(1, 3, 8, 8)
    torch.export.save(torch.export.export(made, (example,)), str(folder / "net.pt2"))
    torch.jit.trace(made, example).save(str(folder / "net.pt"))
    torch.save(made.state_dict(), folder / "weights.pt")


def _tensorflow(folder: Path) -> None:
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    keras.utils.set_random_seed(0)
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()]
    made = keras.Sequential([*layers, keras.layers.Dense(3)])
    for name in ("net.keras", "net.h5"):
        made.save(folder / name)
    (folder / "net.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(made).convert())
    called = tf.function(lambda x: made(x)).get_concrete_function(tf.TensorSpec((1, 8, 8, 3), tf.float32, "x"))
    frozen = convert_variables_to_constants_v2(called)
    (folder / "net.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())


if __name__ == "__main__":
    if importlib.util.find_spec(sys.argv[1]):
        {"torch": _torch, "tensorflow": _tensorflow}[sys.argv[1]](Path(sys.argv[2]))
