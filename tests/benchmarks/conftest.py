"""Benchmarks are programs: pytest passes them by, some need an environment of their own."""

collect_ignore_glob = ["*.py"]
