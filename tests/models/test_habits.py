"""The rules about an account's own habits: each fires on its typology and not on what looks like it.

Limits are those of a bank of these few accounts; as shipped, before a fit, only the extraordinary speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson
import pytest

from stream_guard.detection.anomaly_settings import load_anomaly
from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import payments
from stream_guard.detection.in_step import InStep
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import compile_pack, load_pack
from stream_guard.detection.state import Context
from stream_guard.events import parse_transactions
from stream_guard.tuning.pack_text import with_values

ROOT = Path(__file__).parents[2]
START_MS = 1_790_000_000_000
HOUR, DAY = 3_600.0, 86_400.0
NOW = 120 * DAY

LIMITS = {
    "unaccustomed-payer": 1.5,
    "paid-by-unaccustomed-payer": 1.5,
    "joins-many-in": 60.0,
    "gathers-from-strangers": 60.0,
    "pays-a-spreader": 30.0,
    "spreads-strangers-money": 30.0,
}
PAIRS = {
    "unaccustomed-payer": ("wakes", "holiday"),
    "paid-by-unaccustomed-payer": ("wakes", "holiday"),
    "joins-many-in": ("fan-in", "wedding"),
    "gathers-from-strangers": ("fan-in", "wedding"),
    "pays-a-spreader": ("fan-out", "company"),
    "spreads-strangers-money": ("fan-out", "company"),
    "spree": ("takeover", "christmas"),
    "new-account-passes-on": ("mule", "first-salary"),
}
"""By rule: the play that it has to notice, and the innocent one like it."""

Paid = tuple[str, float, str, str, float]
"""Play, seconds, payer, payee, amount."""


def plays() -> list[Paid]:
    found: list[Paid] = []

    def pay(play: str, at: float, payer: str, payee: str, amount: float = 100.0) -> None:
        found.append((play, at, payer, payee, amount))

    def habit(payer: str, payees: list[str], every: float) -> None:
        for n, at in enumerate(np.arange(HOUR, NOW, every).tolist()):
            pay("habit", at, payer, payees[n % len(payees)])

    seldom = [f"seldom-{n}" for n in range(9)]
    for account in [*seldom, "spreader"]:
        habit(account, ["landlord"], 29 * DAY)
    regular = [f"regular-{n}" for n in range(8)]
    for account in regular:
        habit(account, ["grocer"], DAY)
    habit("company", [f"supplier-{n}" for n in range(20)], 7 * DAY / 20)
    for n in range(4):
        pay("wakes", NOW + n * DAY, seldom[0], f"stranger-a{n}")
        pay("holiday", NOW + n * DAY, regular[0], f"stranger-b{n}")
        pay("spreading", NOW + n * DAY, "spreader", f"stranger-c{n}")
        pay("takeover", NOW + n * 600.0, regular[6], f"stranger-d{n}", 3_000.0)
        pay("christmas", NOW + n * 600.0, regular[7], f"stranger-e{n}")
    for n in range(5):
        pay("fan-in", NOW + n * DAY, seldom[1 + n], "gatherer")
        pay("wedding", NOW + n * DAY, regular[1 + n], "couple")
    pay("fan-out", NOW + 4 * DAY, seldom[6], "spreader")
    pay("company", NOW + 4 * DAY - 1, seldom[7], "company")
    pay("mule", NOW, regular[0], "new-mule", 40_000.0)
    pay("mule", NOW + HOUR, "new-mule", "cash-desk", 39_000.0)
    pay("first-salary", NOW, "company", "new-hire", 40_000.0)
    pay("first-salary", NOW + HOUR, "new-hire", "grocer", 1_000.0)
    return sorted(found, key=lambda paid: paid[1])


@pytest.fixture(scope="module")
def fired() -> Mapping[str, set[str]]:
    """By play: the rules that fired on its payments."""
    text = (ROOT / "models" / "bank-core.yaml").read_text(encoding="utf-8")
    changes = {(rule, name): value for rule, value in LIMITS.items() for name in ("limit", "half")}
    pack = compile_pack(load_pack(with_values(text, "pack", changes), "pack"), ROOT / ".cache" / "rules")
    context = Context(
        bank=Bank(timezone="UTC"),
        pack=pack,
        policy=load_policy((ROOT / "models" / "policy.yaml").read_text(), "policy", deadline_ms=0),
        anomaly=load_anomaly((ROOT / "models" / "anomaly.yaml").read_text(), "anomaly"),
    )
    made = plays()
    values = [
        orjson.dumps(
            {
                "event_id": f"e{n}",
                "ts": START_MS + round(at * 1000),
                "account": payer,
                "counterparty": payee,
                "amount": amount,
            }
        )
        for n, (_, at, payer, payee, amount) in enumerate(made)
    ]
    events, _, refused = parse_transactions(values)
    now = START_MS + round(200 * DAY * 1000)
    batch, unfit = payments(
        events, list(range(len(events))), [now] * len(events), None, None, context.bank, now
    )
    assert refused == unfit == []
    results = InStep(context).run(batch, answer=False).results
    names = np.array([rule.id for rule in pack.rules])
    found: dict[str, set[str]] = {}
    for (play, *_), row in zip(made, results.fired, strict=True):
        found.setdefault(play, set()).update(names[row == 1].tolist())
    return found


@pytest.mark.parametrize("rule", PAIRS)
def test_the_typology_fires_the_rule(rule: str, fired: Mapping[str, set[str]]) -> None:
    assert rule in fired[PAIRS[rule][0]]


@pytest.mark.parametrize("rule", PAIRS)
def test_innocent_behaviour_like_it_does_not(rule: str, fired: Mapping[str, set[str]]) -> None:
    assert rule not in fired[PAIRS[rule][1]]


def test_a_habit_is_none_of_these(fired: Mapping[str, set[str]]) -> None:
    assert not fired["habit"] & set(PAIRS)
