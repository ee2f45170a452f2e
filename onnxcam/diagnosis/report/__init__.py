"""Diagnosis → report: HTML, JSON, and data for viewers of graphs."""
