"""Faust and Kafka, and nothing that decides."""
