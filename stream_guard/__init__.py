"""Near-real-time account fraud warnings beside a bank's core system."""

__version__ = "0.1.0"
