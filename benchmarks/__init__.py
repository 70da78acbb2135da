"""Timings of the package against plain and published ways of doing the same; see ``run.py``."""
