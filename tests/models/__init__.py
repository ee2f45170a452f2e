"""Tests of the networks and pictures that models/ trains and draws."""
