"""Where a case is laid out, and the good files that it starts from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from tests.fuzz import networks

ROOT = Path(__file__).parents[2]
ASSETS = Path(str(resources.files("onnxcam"))) / "assets"


@dataclass(frozen=True)
class Place:
    """The empty *folder* of a case, and *stock*: the folder with a recording and a validation of the good model."""

    folder: Path
    stock: Path

    def put(self, name: str, data: bytes) -> str:
        """Write a file and return its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return name

    def take(self, name: str) -> str:
        """Copy a file or folder of the stock and return its name."""
        source, target = self.stock / name, self.folder / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return name

    def model(self, name: str = "good.onnx") -> str:
        """Write a small model that is whole."""
        return self.put(name, networks.classifier().SerializeToString())

    def picture(self, name: str = "picture.png") -> str:
        """Write a small image that is whole."""
        return self.put(name, png())


def pixels(height: int = 20, width: int = 30) -> np.ndarray:
    """Return an image of noise."""
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def encoded(suffix: str, picture: np.ndarray | None = None) -> bytes:
    """Return an image as a file of the kind that *suffix* names."""
    return bytes(cv2.imencode(suffix, pixels() if picture is None else picture)[1])


def png() -> bytes:
    """Return a small image as PNG."""
    return encoded(".png")


def fill_stock(folder: Path) -> list[list[str]]:
    """Write the good files into *folder* and return the commands that make the others there."""
    stock = Place(folder, folder)
    model, picture = stock.model("model.onnx"), stock.picture()
    stock.put("other.png", encoded(".png", pixels(24, 24)))
    words = [model, picture, "other.png", "-p", "unit"]
    return [["record", *words, "-o", "recording"], ["validate", model, *words, "-o", "validation"]]
