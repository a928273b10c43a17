"""Grids of runs: read, planned, run, and shown as a table."""
