"""What the API reference counts as public, next to ``__all__``."""

from typing import Any

import griffe


class StubNames(griffe.Extension):
    """Make the names public that an ``__init__.pyi`` imports, which is where lazy_loader finds them."""

    def on_alias_instance(self, *, alias: griffe.Alias, agent: griffe.Visitor, **kwargs: Any) -> None:
        """Mark an imported name while the tree is built."""
        if agent.filepath.suffix == ".pyi":
            alias.public = True
