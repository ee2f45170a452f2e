"""Mutations of bytes, whatever they mean: for models, images and text alike."""

from __future__ import annotations

from random import Random

_WORDS = (b"\x00", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff" * 9 + b"\x01", b"\n")


def flip(rng: Random, data: bytes) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8)) if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_early(rng: Random, data: bytes) -> bytes:
    """Flip bits in the first bytes, where headers are."""
    head = min(len(data), 200)
    return flip(rng, data[:head]) + data[head:]


def truncate(rng: Random, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: rng.randrange(len(data) + 1)]


def insert(rng: Random, data: bytes) -> bytes:
    """Put bytes in."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice((rng.choice(_WORDS), rng.randbytes(rng.randrange(1, 40)))) + data[at:]


def remove(rng: Random, data: bytes) -> bytes:
    """Take bytes out."""
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.choice((1, 2, 4, 30)) :]


def duplicate(rng: Random, data: bytes) -> bytes:
    """Repeat a part."""
    at = rng.randrange(len(data) + 1)
    end = at + rng.choice((1, 8, 60, 1000))
    return data[:end] + data[at:end] + data[end:]


def overwrite(rng: Random, data: bytes) -> bytes:
    """Write an extreme number over what is there."""
    word = rng.choice(_WORDS)
    at = rng.randrange(len(data) + 1)
    return data[:at] + word + data[at + len(word) :]


def varint(rng: Random, data: bytes) -> bytes:
    """Write a varint of another size over a byte, as a length or a number of protobuf's may be."""
    at = rng.randrange(len(data) + 1)
    number = rng.choice((0, 1, 127, 128, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**64 - 1, rng.getrandbits(20)))
    return data[:at] + _encoded(number) + data[at + 1 :]


def _encoded(number: int) -> bytes:
    """Return *number* as protobuf's varint."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


MUTATORS = (flip, flip, flip_early, truncate, insert, remove, duplicate, overwrite, varint)


def mutated(rng: Random, data: bytes, most: int = 3) -> bytes:
    """Return *data* after one to *most* mutations."""
    for _ in range(rng.randrange(1, most + 1)):
        data = rng.choice(MUTATORS)(rng, data)
    return data


def spliced(rng: Random, first: bytes, second: bytes) -> bytes:
    """Return the beginning of one file with the end of another."""
    return first[: rng.randrange(len(first) + 1)] + second[rng.randrange(len(second) + 1) :]
