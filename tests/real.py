"""Where the objects are in the real photos."""

from __future__ import annotations

# Where the object is: x0, y0, x1, y1 in fractions of the image.
OBJECTS = {
    "chickadee.jpg": (0.07, 0.2, 0.95, 0.8),
    "tabby_cat.jpg": (0.1, 0.08, 0.72, 1),
    "cat_face.jpg": (0.1, 0.05, 0.85, 1),
    "macaw.jpg": (0.15, 0.1, 0.9, 1),
    "golden_puppy.jpg": (0.18, 0.12, 0.68, 0.95),
    "puppies.jpg": (0.05, 0.3, 1, 0.8),
    "dragonfly.jpg": (0.25, 0.1, 1, 0.9),
    "sunflower.jpg": (0.15, 0.05, 0.85, 1),
    "cheeseburger.jpg": (0.05, 0.05, 0.95, 1),
    "purple_bus.jpg": (0.05, 0.15, 0.95, 0.9),
    "squat.jpg": (0.2, 0.2, 0.75, 1),
    "baseball.jpg": (0.4, 0.4, 0.8, 0.95),
}
