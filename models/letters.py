"""The world of letters: a word of capitals and digits on the textured ground of `world.py`, with each one's box.

The letters are strokes of a pen: a font would be another one in the next version of whatever draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.world import PALETTE, Array, Image, Mask, contrasting, paint_ground, shade

HEIGHT, WIDTH = 32, 128
CAPITAL = (12, 22)  # height of a letter in pixels
FINE = 4  # letters are drawn as many times larger, and averaged

STROKES = {  # of the pen, in a grid of 4 x 6: `xy xy …`, after a semicolon it is put down anew
    "A": "06 20 46;14 34",
    "B": "00 30 41 42 33 03;33 44 45 36 06 00",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 20 42 44 26 06 00",
    "E": "40 00 06 46;03 33",
    "F": "40 00 06;03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06;40 46;03 43",
    "I": "00 20;10 16;06 26",
    "J": "40 45 36 16 05",
    "K": "00 06;40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10;24 46",
    "R": "06 00 30 41 42 33 03;23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40;20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 23 36 40",
    "X": "00 46;40 06",
    "Y": "00 23 40;23 26",
    "Z": "00 40 06 46",
    "0": "10 20 31 35 26 16 05 01 10;05 31",
    "1": "02 10 16;06 26",
    "2": "01 10 30 41 42 06 46",
    "3": "01 10 30 41 42 33 44 45 36 16 05;13 33",
    "4": "36 30 04 44",
    "5": "40 00 02 32 43 45 36 06",
    "6": "40 20 02 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "10 30 41 42 33 13 02 01 10;13 04 05 16 36 45 44 33",
    "9": "43 13 02 01 10 30 41 44 26 06",
}
LETTERS = "".join(STROKES)


@dataclass(frozen=True)
class Line:
    """An RGB picture, uint8 `[32, 128, 3]`, the text in it, and the box of each letter: `x1, y1, x2, y2`."""

    image: Image
    text: str
    boxes: tuple[tuple[int, int, int, int], ...]

    def mask(self, letters: slice = slice(None)) -> Mask:
        """The boxes of these letters."""
        mask = np.zeros(self.image.shape[:2], bool)
        for x1, y1, x2, y2 in self.boxes[letters]:
            mask[y1:y2, x1:x2] = True
        return mask


def sample(rng: np.random.Generator) -> Line:
    """Draw two to six letters by one pen."""
    colours = np.float32([shade(rng, name) for name in rng.permutation(list(PALETTE))[:2]])
    image = paint_ground(rng, WIDTH, colours)[:HEIGHT]
    ink = shade(rng, contrasting(rng, colours, 1)[0])
    text = "".join(rng.choice(list(LETTERS), rng.integers(2, 7)))
    covers = _covers(rng, text)
    for cover in covers:
        image += cover[..., None] * (ink - image)
    image += rng.uniform(0, 10) * rng.standard_normal(image.shape)
    return Line(np.clip(np.rint(image), 0, 255).astype(np.uint8), text, tuple(map(_box, covers)))


def _covers(rng: np.random.Generator, text: str) -> list[Array]:
    """How much of each pixel each letter of *text* covers; all have one size, slope, pen and distance."""
    letters = [[_points(stroke) for stroke in STROKES[letter].split(";")] for letter in text]
    wide, slope, pen, gap = rng.uniform((0.8, -0.15, 0.6, 0.9), (1.2, 0.25, 1.3, 1.8))  # in units of the grid
    starts = np.cumsum([0.0, *(max(s[:, 0].max() for s in strokes) * wide + pen + gap for strokes in letters)])
    length, lean = starts[-1] - gap, 6 * abs(slope)
    unit = min(rng.uniform(*CAPITAL) / (6 + pen), (WIDTH - 5) / (length + lean))  # in pixels
    x = rng.uniform(2, WIDTH - 2 - (length + lean) * unit) + (pen / 2 + max(6 * slope, 0)) * unit
    y = rng.uniform(2, HEIGHT - 2 - (6 + pen) * unit) + pen / 2 * unit
    form = unit * np.array([(wide, 0), (-slope, 1)])
    return [
        _cover([s @ form + (x + start * unit, y) for s in strokes], pen * unit)
        for strokes, start in zip(letters, starts, strict=False)
    ]


def _points(stroke: str) -> Array:
    return np.array([(int(x), int(y)) for x, y in stroke.split()], np.float32)


def _cover(strokes: list[NDArray[np.float64]], pen: float) -> Array:
    canvas = np.zeros((FINE * HEIGHT, FINE * WIDTH), np.uint8)
    points = [np.rint((s * FINE - 0.5) * 16).astype(np.int32) for s in strokes]
    cv2.polylines(canvas, points, False, 255, max(1, round(FINE * pen)), shift=4)
    return cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _box(cover: NDArray[np.float32]) -> tuple[int, int, int, int]:
    y, x = np.nonzero(cover > 0.25)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1
