"""Every rule model against its typology, which it has to notice, and against innocent behaviour like it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from stream_guard.detection.anomaly_settings import load_anomaly
from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import payments
from stream_guard.detection.in_step import InStep
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import check_file, compile_pack
from stream_guard.detection.signals import Signal
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import SignalKind, SignalSource
from stream_guard.events import parse_transactions
from stream_guard.simulation import History
from stream_guard.simulation.typologies import LOOK_ALIKES, TYPOLOGIES

ROOT = Path(__file__).parents[2]
PACK = check_file(ROOT / "models" / "bank-core.yaml")
FITTED = frozenset({"limit", "ordinary"})
"""Parameters of the rules about habits: tried in ``tests/models/test_habits.py``, with limits that fit."""
RULES = [rule.id for rule in PACK.rules if not FITTED & set(rule.params)]

PAIRS = {
    "rapid-in-out": ("rapid-in-out", "bonus-saved"),
    "rapid-in-out-fast": ("rapid-in-out", "bonus-saved"),
    "many-in-one-out": ("many-in-one-out", "shop-takings"),
    "one-in-many-out": ("one-in-many-out", "salary-run"),
    "two-way-churning": ("two-way-churning", "lent-and-repaid"),
    "mirror-pass-through": ("mirror-pass-through", "swept-account"),
    "divergence": ("divergence", "supplier-run"),
    "below-limit": ("below-limit", "course-fees"),
    "ants-moving-house": ("ants-moving-house", "new-kitchen"),
    "similar-payments": ("similar-payments", "deposit-and-rent"),
    "probe-then-drain": ("probe-then-drain", "number-tried"),
    "small-tries": ("small-tries", "bill-shared"),
    "impossible-travel": ("impossible-travel", "flight"),
    "details-changed": ("details-changed", "new-telephone"),
    "night-out-of-habit": ("night-out-of-habit", "late-worker"),
    "far-above-habit": ("far-above-habit", "second-car"),
    "elder-stranger-large": ("elder-stranger-large", "care-home"),
    "drain": ("drain", "house-purchase"),
    "dormant-wakes": ("dormant-wakes", "back-from-abroad"),
    "dormant-pays": ("dormant-wakes", "savings-moved"),
    "new-account-high-turnover": ("new-account-high-turnover", "moved-here"),
    "police-listed-payee": ("listed-counterparty", "cleared"),
    "police-listed-payer": ("listed-counterparty", "cleared"),
    "listed-payee": ("listed-counterparty", "cleared"),
    "listed-payer": ("listed-counterparty", "cleared"),
    "tainted-funds": ("tainted-funds", "cleared"),
    "tainted-funds-passed-on": ("tainted-funds", "cleared"),
    "shared-device": ("shared-device", "family-tablet"),
    "shared-address": ("shared-device", "family-tablet"),
    "collection-account": ("collection-account", "couple-buys"),
    "frequent-opening": ("frequent-opening", "student-accounts"),
    "frequent-opening-payee": ("frequent-opening", "student-accounts"),
    "many-in": ("many-in-one-out", "wedding"),
}
"""By rule model: the typology that it has to notice, and the innocent play that it must not."""

Fired = Mapping[str, frozenset[str]]
"""By play: the rule models that fired on its payments."""


def decide(history: History) -> Fired:
    """Play a history to the shipped models, payment by payment."""
    context = Context(
        bank=Bank(),
        pack=compile_pack(PACK, ROOT / ".cache" / "rules"),
        policy=load_policy((ROOT / "models" / "policy.yaml").read_text(), "policy", deadline_ms=0),
        anomaly=load_anomaly((ROOT / "models" / "anomaly.yaml").read_text(), "anomaly"),
    )
    names, ledger = history.bank.names, history.ledger
    bank = InStep(context)
    for fact in history.account_updates():
        bank.update_facts(
            fact["account"], fact["ts"], fact["opened"], fact["holder_birth_year"], fact["kind"]
        )
    for placed in history.episodes:
        for change in placed.episode.changes:
            account = str(names[change.account]).encode()
            ts = placed.start_ms - round(change.before_s * 1000)
            bank.profiles.update_facts(account, ts, None, None, None, change.what)
        for listing in placed.episode.listings:
            name = str(names[listing.account])
            begun, over = placed.start_ms - 60_000, placed.start_ms - 30_000 if listing.over else None
            source = SignalSource(listing.source)
            signal = Signal(SignalKind.ACCOUNT, name, listing.level, source, begun, over)
            context.signals.put(f"account:{name}", signal)
    cast = np.flatnonzero(history.bank.reserved)
    rows = np.flatnonzero(np.isin(ledger.payer, cast) | np.isin(ledger.payee, cast))
    chosen = set(rows.tolist())
    values = [value for row, (_, value) in enumerate(history.records()) if row in chosen]
    events, _, refused = parse_transactions(values)
    now = [history.end_ms] * len(events)
    batch, unfit = payments(events, list(range(len(events))), now, None, None, context.bank, history.end_ms)
    assert refused == unfit == []
    step = bank.run(batch, answer=False)
    assert step.decided.all()
    compiled = [rule.id for rule in context.pack.rules]
    groups = ledger.group[rows]
    return {
        placed.episode.typology: frozenset(
            np.array(compiled)[(step.results.fired[groups == placed.group] == 1).any(axis=0)].tolist()
        )
        for placed in history.episodes
    }


@pytest.fixture(scope="module")
def fired(staged: History) -> Fired:
    return decide(staged)


def test_every_rule_model_has_a_typology_and_innocent_behaviour_like_it() -> None:
    assert sorted(PAIRS) == sorted(RULES)


def test_every_play_is_somebodys() -> None:
    assert {typology for typology, _ in PAIRS.values()} == set(TYPOLOGIES)
    assert {innocent for _, innocent in PAIRS.values()} == set(LOOK_ALIKES)


@pytest.mark.parametrize("rule", RULES)
def test_the_typology_fires_the_rule(rule: str, fired: Fired) -> None:
    assert rule in fired[PAIRS[rule][0]]


@pytest.mark.parametrize("rule", RULES)
def test_innocent_behaviour_like_it_does_not(rule: str, fired: Fired) -> None:
    assert rule not in fired[PAIRS[rule][1]]
