"""Tests of the networks and images that models/ trains and draws."""
