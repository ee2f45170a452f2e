"""Reports of a validation: JSON, an HTML page, JUnit XML for CI systems."""
