"""The log: text or JSON, with no account number above DEBUG."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from stream_guard.streaming import logs
from stream_guard.streaming.logs import configure_logging, described, pseudonym

ACCOUNT = "6222020012345678"


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels are put back, and the key is known."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logs, "_key", b"random")
    for name in ("aiokafka", "kafka", "faust", "mode"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.getLogger(name).level)


def said(level: str, form: str, monkeypatch: pytest.MonkeyPatch, key: Path | None = None) -> str:
    """What is written about an account and a defect."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    configure_logging(level, "json" if form == "json" else "plain", key)
    logger = logging.getLogger("stream_guard.here")
    logger.info("partition %d open: %s", 3, pseudonym(ACCOUNT.encode()))
    try:
        try:
            raise KeyError(ACCOUNT)
        except KeyError as error:
            raise ValueError(f"no row of {ACCOUNT}") from error
    except ValueError:
        logger.exception("a batch was interrupted")
    logging.getLogger("aiokafka").info("chatter")
    return stream.getvalue()


@pytest.mark.parametrize("form", ["plain", "json"])
def test_an_account_stands_there_under_a_pseudonym_and_a_defect_without_its_text(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = said("INFO", form, monkeypatch)
    assert ACCOUNT not in log
    assert "partition 3 open: account-" in log
    assert "a batch was interrupted" in log
    assert "KeyError" in log
    assert "ValueError" in log
    assert "chatter" not in log


def test_json_is_a_line_for_each_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [json.loads(line) for line in said("INFO", "json", monkeypatch).splitlines()]
    assert [(entry["level"], entry["logger"]) for entry in entries] == [
        ("INFO", "stream_guard.here"),
        ("ERROR", "stream_guard.here"),
    ]
    assert entries[0]["ts"].endswith("+00:00")
    assert "in said" in entries[1]["error"]
    assert "error" not in entries[0]


def test_at_debug_everything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"no row of {ACCOUNT}" in said("DEBUG", "plain", monkeypatch)


def test_the_key_of_a_file_makes_pseudonyms_the_same_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = pseudonym(b"A1")
    (tmp_path / "key").write_bytes(b"secret")
    said("INFO", "plain", monkeypatch, tmp_path / "key")
    named = pseudonym(b"A1")
    monkeypatch.setattr(logs, "_key", b"secret")
    assert named == pseudonym(b"A1") != before


def test_errors_about_brokers_and_files_keep_their_text() -> None:
    assert described(KafkaConnectionError("no broker")).startswith("KafkaConnectionError: ")
    assert described(OSError(28, "No space left on device")).endswith("No space left on device")
    assert described(KeyError(ACCOUNT)) == "KeyError"
