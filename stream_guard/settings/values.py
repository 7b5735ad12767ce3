"""Types of single settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import NoDecode


class Section(BaseModel):
    """A group of settings; unknown names are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


def seconds(span: Any) -> Any:
    """Number of a text that is one, and anything else as it is.

    Examples
    --------
    >>> seconds("90"), seconds("30d")
    (90, '30d')
    """
    return int(span) if isinstance(span, str) and span.isascii() and span.isdigit() else span


def _split(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _is_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


def _is_address(text: str) -> str:
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", text)
    if match is None or not 1 <= int(match[1]) <= 65_535:
        raise ValueError(f"{text!r} is no address; write host:port, such as 127.0.0.1:9092")
    return text


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A list; in the environment with commas."""

Numbers = Annotated[tuple[float, ...], NoDecode, BeforeValidator(_split)]
"""A list of numbers; in the environment with commas."""

ExistingFile = Annotated[Path, AfterValidator(_is_file)]
"""A file that is there."""

TopicName = Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9._-]|\{app_id\}){1,249}$")]
"""Name of a topic as Kafka allows it; ``{app_id}`` stands for the application id."""

CURRENCY_PATTERN: Final = "^[A-Z]{3}$"
Currency = Annotated[str, Field(pattern=CURRENCY_PATTERN)]
"""ISO 4217 code."""

HostPort = Annotated[str, AfterValidator(_is_address)]
"""Address of a broker, ``host:port``."""
