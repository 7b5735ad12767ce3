"""What decides, and nothing else.

Everything in this package is pure: no Kafka, no files, no clock, no randomness of its own. Live
processing, shadow runs, backtests and replays call the same functions
(:mod:`stream_guard.detection.pipeline`) and differ only in where rows come from and where
decisions go.
"""
