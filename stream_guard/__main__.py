"""``python -m stream_guard``: the command line."""

from __future__ import annotations

import sys

from stream_guard.cli import main

if __name__ == "__main__":
    sys.exit(main())
