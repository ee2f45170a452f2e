"""Worlds whose truth is known, and the small networks that are trained on them (README.md)."""
