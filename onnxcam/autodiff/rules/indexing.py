"""Selecting and placing elements: slices, gathers, scatters, pads."""

from __future__ import annotations
