"""Benchmarks are programs: pytest looks at none of them, some expect to be started with their own environment."""

collect_ignore_glob = ["*.py"]
