"""Operators that only move elements: reshapes, transposes, concatenations."""

from __future__ import annotations
