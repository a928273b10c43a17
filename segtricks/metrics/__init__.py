"""Scores of saliency masks as torchmetrics classes, and the named protocols that combine them.

What is here stands in ``__init__.pyi``. It is imported on use: torch takes seconds to import,
and a table of results does without.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
