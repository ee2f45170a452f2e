"""The text towers of CLIP and its kin: a text, by its tokenizer and its network, to a vector."""

from onnxcam.text_towers.tower import TextTower

__all__ = ["TextTower"]
