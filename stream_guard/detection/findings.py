"""A finding: what one payment's evaluation says about one of its two accounts.

The payee's findings are used where they arise, in the second hop. The payer's travel as case records, keyed
by the payer, to the partition that holds the payer's row and warnings. `Finding.to_bytes` is the value of
such a record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from stream_guard.alerts import Reason
from stream_guard.detection.vocabulary import Action, Side
from stream_guard.versions import upgraded

FINDING_VERSION = 1
FINDING_UPGRADES: dict[int, Callable[[list[Any]], list[Any]]] = {}
"""Steps of `upgraded`."""


class Finding(NamedTuple):
    """One payment, seen from one of its accounts.

    Notes
    -----
    `reasons` holds live rules only, all of them about `account` on `side`: a shadow rule must never get here.
    A finding without reasons says nothing about the account; it only carries the action to the payer's ring.
    """

    side: Side
    account: str
    event_id: str
    event_hash: int
    """Hash of the event id as the ring keeps it, 0 to 2**64 - 1."""
    ts: int
    """Event time, milliseconds since 1970."""
    amount: float
    """In base currency."""
    action: Action
    """The decision on the payment, as told to core banking."""
    score: float
    """0-100, of this side."""
    reasons: tuple[Reason, ...]
    warn: bool
    """A rule asks for a warning whatever the score."""
    intercepted: bool
    """The payment was first decided delay, hold or stop, and this side accounts for its amount. True on one
    side of a payment at most, so that the amount is never split twice."""
    pack: str
    """Rule pack that judged the payment."""

    def to_bytes(self) -> bytes:
        """Compact JSON, read back by `from_bytes`."""
        reasons = [(r.rule, r.version, r.score, r.text, r.evidence) for r in self.reasons]
        return orjson.dumps(
            (FINDING_VERSION, *self[:6], int(self.action), self.score, reasons, *self[9:]),
            option=orjson.OPT_SERIALIZE_NUMPY,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Finding:
        """Finding of a case record.

        Raises
        ------
        ValueError
            If the record is no finding, or a later release's.

        Examples
        --------
        >>> finding = Finding(Side.PAYER, "a", "e1", 7, 0, 10.0, Action.HOLD, 0.0, (), False, True, "p")
        >>> Finding.from_bytes(finding.to_bytes()) == finding
        True
        """
        record: Any = orjson.loads(data)
        if not isinstance(record, list) or not record:
            raise ValueError("case record is no finding; nothing else may write to the cases topic")
        record = upgraded(record, record[0], FINDING_VERSION, FINDING_UPGRADES, "case records")
        try:
            _, side, account, event_id, event_hash, ts, amount, action, score, reasons, warn, held, pack = (
                record
            )
            side = Side(side)
            return cls(
                side=side,
                account=account,
                event_id=event_id,
                event_hash=event_hash,
                ts=ts,
                amount=float(amount),
                action=Action(action),
                score=float(score),
                reasons=tuple(
                    Reason(
                        rule=rule,
                        version=version,
                        account=account,
                        side=side,
                        score=points,
                        text=text,
                        evidence=evidence,
                    )
                    for rule, version, points, text, evidence in reasons
                ),
                warn=warn,
                intercepted=held,
                pack=pack,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"case record cannot be read as a finding: {error}") from error
