"""Refiners: pure functions that fit a mask to the edges of its image.

What is here stands in ``__init__.pyi``. It is imported on use: torch takes seconds, and a list of names does without.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
