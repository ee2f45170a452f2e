"""A validation, told: an HTML file for people, JUnit XML for CI systems."""
