"""Tests of the comparison of each task."""
