"""What investigators' outcomes say about the warnings: tallies and the hit rate. Pure, like ``detection``."""
