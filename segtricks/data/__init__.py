"""Photographs and masks: reading, datasets by name, transforms, and the LightningDataModule that joins them."""

import lazy_loader

# Lightning takes seconds to import, and reading a mask does not need it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
