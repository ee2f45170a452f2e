"""One frame of a video as an image with a name of its own, such as ``clip.mp4#120``."""

from __future__ import annotations

import os
import re

from onnxcam import paths
from onnxcam.errors import ImageError
from onnxcam.stderr import silence
from onnxcam.text import in_message

__all__ = ["SUFFIXES", "frame_name", "load_frame", "no_video", "split_name"]

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""Suffixes of video files."""
_NAMED = re.compile(rf"(.+(?:{'|'.join(map(re.escape, SUFFIXES))}))#(\d{{1,9}})", re.IGNORECASE | re.DOTALL)


def frame_name(path: str | os.PathLike[str], number: int) -> str:
    """Return the name of frame *number*, from 0, of the video *path*."""
    return f"{os.fspath(path)}#{number}"


def split_name(name: str | os.PathLike[str]) -> tuple[str, int] | None:
    """Return the video and the number in the *name* of a frame; None where it is the name of another file."""
    found = _NAMED.fullmatch(os.fspath(name))
    if found is None or paths.kind(name) == "file":
        return None
    return found[1], int(found[2])


def no_video(path: str | os.PathLike[str]) -> ImageError:
    """Return the error for a file that is no video."""
    return ImageError(
        f"{in_message(path)}: is no video that OpenCV reads, or is cut off; copy it again, or save it as .mp4"
    )


def load_frame(path: str, number: int) -> bytes:
    """Return frame *number* of the video *path* as the bytes of an uncompressed image; ImageError where there is none.

    Videos whose frames OpenCV cannot seek are read from their beginning.
    """
    import cv2

    paths.check_file(path, ImageError, "video")
    with silence():
        video = cv2.VideoCapture(path)
        video.set(cv2.CAP_PROP_POS_FRAMES, number)
        if int(video.get(cv2.CAP_PROP_POS_FRAMES)) != number:
            video = cv2.VideoCapture(path)
            for _ in range(number):
                video.grab()
        is_open = video.isOpened()
        good, frame = video.read()
    if not is_open:
        raise no_video(path)
    if not good:
        raise ImageError(f"{in_message(path)}: frame {number} of the video cannot be read; copy the file again")
    return bytes(cv2.imencode(".bmp", frame)[1].data)
