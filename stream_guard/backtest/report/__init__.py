"""The result of a backtest as one page that needs nothing else: no script, no network, no second file."""

from __future__ import annotations

from stream_guard.backtest.report.page import About, page

__all__ = ["About", "page"]
