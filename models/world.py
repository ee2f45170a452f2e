"""A small world whose truth is known: flat shapes on textured ground, with the mask of each.

`sample` draws one scene. The generator decides everything, and every length is a fraction of the side, so
one seed gives the same scene at every size. Colour tells nothing about the class: ground and objects take
theirs from one palette, a class may have any of them; only the contrast with the ground is assured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Image = NDArray[np.uint8]

PALETTE = {
    "red": (208, 52, 44),
    "orange": (238, 138, 38),
    "yellow": (240, 212, 64),
    "green": (64, 158, 72),
    "teal": (56, 184, 180),
    "blue": (44, 88, 200),
    "purple": (128, 66, 168),
    "pink": (238, 138, 180),
    "white": (236, 236, 230),
    "black": (44, 44, 50),
}
RADIUS = (0.12, 0.24)  # of the circle around an object
CONTRAST = 60.0  # RGB distance of an object's colour from any mixture of the two ground colours
APART = 0.9  # distance of two centres, over the sum of their radii; below 1 some objects overlap a little


@dataclass(frozen=True)
class Object:
    """One object of a scene; its mask is what the later objects left visible."""

    label: str
    colour: str
    mask: Mask

    @property
    def box(self) -> tuple[int, int, int, int]:
        """`x1, y1, x2, y2` around the mask, the far edges exclusive."""
        y, x = np.nonzero(self.mask)
        return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


@dataclass(frozen=True)
class Scene:
    """An RGB picture, uint8 `[H, W, 3]`, and the objects in it, back to front."""

    image: Image
    objects: tuple[Object, ...]

    @property
    def labels(self) -> set[str]:
        """The classes present."""
        return {o.label for o in self.objects}

    def mask(self, label: str) -> Mask:
        """Where any object of this class is visible; nowhere if there is none."""
        nowhere = np.zeros(self.image.shape[:2], bool)
        return np.logical_or.reduce([o.mask for o in self.objects if o.label == label] or [nowhere])


def sample(rng: np.random.Generator, size: int = 96, *, count: int | None = None) -> Scene:
    """Draw one scene of one to four objects, or of `count` where they find room."""
    grain = np.random.default_rng(rng.integers(2**32))  # its draws depend on the size, the scene's must not
    names = list(PALETTE)
    ground = np.float32([shade(rng, name) for name in rng.permutation(names)[:2]])
    image = paint_ground(rng, size, ground)
    places = _places(rng, int(rng.integers(1, 5)) if count is None else count)
    colours = contrasting(rng, ground, len(places))

    objects: list[Object] = []
    for (x, y, radius), colour in zip(places, colours, strict=True):
        label = str(rng.choice(LABELS))
        cover = _cover(_outline(label, x, y, radius, rng.uniform(0, 2 * np.pi)), size)
        image += cover[..., None] * (shade(rng, colour) * _light(rng, size) - image)
        mask = cover > 0.5
        objects = [Object(o.label, o.colour, o.mask & ~mask) for o in objects]
        objects.append(Object(label, colour, mask))
    image += rng.uniform(0, 10) * grain.standard_normal(image.shape, np.float32)
    return Scene(np.clip(np.rint(image), 0, 255).astype(np.uint8), tuple(objects))


# Outlines: closed contours around the origin, inside the unit circle; what lies within two is a hole.


def _star(points: int, inner: float, phase: float = 0.0) -> Array:
    angle = phase + np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2, inner, 1.0)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)


def _polygon(corners: int, radius: float = 1.0) -> Array:
    angle = np.arange(corners) * 2 * np.pi / corners
    return (radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)


def _plus(arm: float = 0.32) -> Array:
    far = np.sqrt(1 - arm**2)
    quarter = np.array([(far, -arm), (far, arm), (arm, arm)])
    turn = np.array([(0, 1), (-1, 0)])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]).astype(np.float32)


OUTLINES: dict[str, list[Array]] = {
    "circle": [_polygon(64)],
    "square": [_polygon(4)],
    "triangle": [_polygon(3)],
    "star": [_star(5, 0.42)],
    "cross": [_plus()],
    "ring": [_polygon(64), _polygon(64, 0.5)],
}
LABELS = tuple(OUTLINES)


def _outline(label: str, x: float, y: float, radius: float, angle: float) -> list[Array]:
    cos, sin = np.cos(angle), np.sin(angle)
    turn = radius * np.array([(cos, sin), (-sin, cos)])
    return [contour @ turn + (x, y) for contour in OUTLINES[label]]


def _cover(outline: list[Array], size: int) -> Array:
    """How much of each pixel lies inside the outline, 0 to 1."""
    fine = 4
    points = [np.rint((c * size * fine - 0.5) * 16).astype(np.int32) for c in outline]
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    cv2.fillPoly(canvas, points, 255, shift=4)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _places(rng: np.random.Generator, count: int, tries: int = 60) -> list[tuple[float, float, float]]:
    """Centres and radii of up to `count` objects that hide little of each other."""
    places: list[tuple[float, float, float]] = []
    for _ in range(tries):
        radius = rng.uniform(*RADIUS)
        x, y = rng.uniform(radius, 1 - radius, 2)
        if all(np.hypot(x - a, y - b) > APART * (radius + r) for a, b, r in places):
            places.append((x, y, radius))
        if len(places) == count:
            break
    return places


def contrasting(rng: np.random.Generator, ground: Array, count: int) -> list[str]:
    """`count` different colours that stand out from every mixture of the two ground colours."""
    start, along = ground[0], ground[1] - ground[0]
    palette = np.float32(list(PALETTE.values()))
    t = np.clip((palette - start) @ along / max(float(along @ along), 1.0), 0, 1)
    contrast = np.linalg.norm(palette - (start + t[:, None] * along), axis=1)
    enough = max(count, int((contrast > CONTRAST).sum()))
    return [list(PALETTE)[i] for i in rng.permutation(np.argsort(-contrast)[:enough])[:count]]


def shade(rng: np.random.Generator, colour: str) -> Array:
    """One of the shades that go by the name of a colour, `[3]`."""
    return (np.float32(PALETTE[colour]) + rng.uniform(-14, 14, 3)).astype(np.float32)


def _light(rng: np.random.Generator, size: int) -> Array:
    """A soft fall of light over an object, as a factor."""
    return (1 + 0.3 * (_gradient(rng, size) - 0.5))[..., None]


# Ground: a texture is a field in [0, 1] that mixes two colours.


def paint_ground(rng: np.random.Generator, size: int, colours: Array) -> Array:
    """Textured ground of two colours `[2, 3]`, `[size, size, 3]`."""
    field = TEXTURES[rng.integers(len(TEXTURES))](rng, size)
    field = np.clip(0.5 + rng.uniform(0.4, 1) * (field - 0.5), 0, 1)[..., None]
    shadow = 1 + 0.25 * (_noise(rng, size) - 0.5)
    return (colours[0] + field * (colours[1] - colours[0])) * shadow[..., None]


def _axes(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Two orthogonal coordinates, turned at random; the picture is one unit wide."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return u.astype(np.float32), v.astype(np.float32)


def _gradient(rng: np.random.Generator, size: int) -> Array:
    return np.clip(_axes(rng, size)[0] + 0.5, 0, 1)


def _noise(rng: np.random.Generator, size: int, cells: int = 4) -> Array:
    """Value noise: a coarse random lattice, smoothly enlarged."""
    lattice = rng.random((cells, cells)).astype(np.float32)
    return np.clip(cv2.resize(lattice, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def _clouds(rng: np.random.Generator, size: int) -> Array:
    octaves = sum(_noise(rng, size, 4 * 2**k) / 2**k for k in range(3)) / 1.75
    return np.clip(0.5 + 2 * (octaves - 0.5), 0, 1)


def _stripes(rng: np.random.Generator, size: int) -> Array:
    wave = np.sin(2 * np.pi * rng.uniform(3, 11) * _axes(rng, size)[0] + rng.uniform(0, 2 * np.pi))
    return _soften(rng, wave)


def _checker(rng: np.random.Generator, size: int) -> Array:
    pitch = 2 * np.pi * rng.uniform(2, 6)
    u, v = _axes(rng, size)
    return _soften(rng, np.sin(pitch * u + rng.uniform(0, 6)) * np.sin(pitch * v + rng.uniform(0, 6)))


def _blotches(rng: np.random.Generator, size: int) -> Array:
    return np.clip(0.5 + 12 * (_noise(rng, size, int(rng.integers(5, 12))) - rng.uniform(0.4, 0.65)), 0, 1)


def _strokes(rng: np.random.Generator, size: int) -> Array:
    """Crossing lines: edges and corners that are no object."""
    canvas = np.zeros((size, size), np.uint8)
    for x1, y1, x2, y2 in np.rint(rng.uniform(-0.2, 1.2, (int(rng.integers(4, 16)), 4)) * size).astype(int):
        cv2.line(canvas, (x1, y1), (x2, y2), 255, max(1, int(size * rng.uniform(0.01, 0.04))), cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _soften(rng: np.random.Generator, wave: Array) -> Array:
    return np.clip(0.5 + rng.uniform(0.5, 4) * wave, 0, 1)


TEXTURES: tuple[Callable[[np.random.Generator, int], Array], ...] = (
    _gradient,
    _clouds,
    _stripes,
    _checker,
    _blotches,
    _strokes,
)
