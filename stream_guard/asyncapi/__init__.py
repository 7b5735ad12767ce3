"""All topics as one AsyncAPI 3 document, made from the models that read and write them."""

from __future__ import annotations

from stream_guard.asyncapi.document import document

__all__ = ["document"]
