"""What is kept of one account that has been warned about: its warnings, and since when it is a known mule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from stream_guard.detection.warnings import AccountWarning
from stream_guard.versions import upgraded

DAY_MS = 86_400_000
LISTING_MS = 365 * DAY_MS
"""A confirmed mule is a risk signal for that long."""
ACCOUNT_VERSION = 1
ACCOUNT_UPGRADES: dict[int, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {}
"""Steps of `upgraded`."""


class Listing(NamedTuple):
    """Why an account is on the list of confirmed mules."""

    since: int
    """`ts` of the disposition, milliseconds since 1970."""
    warning_id: str


@dataclass(slots=True)
class WarnedAccount:
    """Warnings of an account, oldest first; at most the last one is open."""

    warnings: list[AccountWarning] = field(default_factory=list)
    forgotten: Listing | None = None
    """Newest listing that rests on a warning already forgotten."""

    @property
    def open(self) -> AccountWarning | None:
        """The open warning, if there is one."""
        return self.warnings[-1] if self.warnings and self.warnings[-1].is_open else None

    @property
    def listing(self) -> Listing | None:
        """Newest finding in force that the account is a mule."""
        found = [Listing(w.mule_since, w.warning_id) for w in self.warnings if w.mule_since is not None]
        if self.forgotten is not None:
            found.append(self.forgotten)
        return max(found, default=None)

    def next_due(self, ttl_ms: int) -> int | None:
        """Stream time at which something falls due next; None: nothing is left to keep."""
        dues = [w.opened_at + ttl_ms if w.keep_until is None else w.keep_until for w in self.warnings]
        if self.forgotten is not None:
            dues.append(self.forgotten.since + LISTING_MS)
        return min(dues, default=None)

    def forget(self, stream_ts: int) -> list[AccountWarning]:
        """Drop what need not be kept any longer; the warnings dropped."""
        old: list[AccountWarning] = []
        kept: list[AccountWarning] = []
        for warning in self.warnings:
            past = warning.keep_until is not None and warning.keep_until <= stream_ts
            (old if past else kept).append(warning)
        self.warnings = kept
        # A later correction of another warning must not take back what these had found.
        for warning in old:
            if warning.mule_since is not None:
                found = Listing(warning.mule_since, warning.warning_id)
                self.forgotten = found if self.forgotten is None else max(self.forgotten, found)
        if self.forgotten is not None and self.forgotten.since + LISTING_MS <= stream_ts:
            self.forgotten = None
        return old

    def to_bytes(self) -> bytes:
        """JSON that `from_bytes` gives the same account for."""
        warnings = [warning.to_record() for warning in self.warnings]
        forgotten = None if self.forgotten is None else list(self.forgotten)
        return orjson.dumps({"v": ACCOUNT_VERSION, "warnings": warnings, "forgotten": forgotten})

    @classmethod
    def from_bytes(cls, value: bytes) -> WarnedAccount:
        """Account of a state record.

        Raises
        ------
        ValueError
            If the record is damaged, or a later release's.
        """
        record: Mapping[str, Any] = orjson.loads(value)
        record = upgraded(record, record.get("v"), ACCOUNT_VERSION, ACCOUNT_UPGRADES, "an account's warnings")
        try:
            forgotten: Sequence[Any] | None = record["forgotten"]
            return cls(
                warnings=[AccountWarning.from_record(warning) for warning in record["warnings"]],
                forgotten=None if forgotten is None else Listing(*forgotten),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"an account's warnings ({len(value)} bytes) cannot be read, {error}: the state was "
                "written by another version or is damaged; rebuild it under a new application id"
            ) from error
