"""Pooling over windows and over all positions."""

from __future__ import annotations
