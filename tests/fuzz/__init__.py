"""Seeded faults for the command line: every door takes bad input, and answers with one plain line.

One case again, alone, with what it did::

    python -m tests.fuzz models 1234

A long campaign::

    python -m tests.fuzz --models 10000 --pictures 10000 --jobs 2

See docs/fuzzing.md.
"""
