"""The datasets, one file each, and their registry."""
