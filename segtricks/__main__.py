"""``python -m segtricks``."""

import sys

from segtricks.cli import main

sys.exit(main())
