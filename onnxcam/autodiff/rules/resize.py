"""Interpolation between grids."""

from __future__ import annotations
