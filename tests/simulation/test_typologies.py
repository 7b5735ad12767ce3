from __future__ import annotations

from typing import Any

import orjson
import pytest

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation import History, Live, Topic
from stream_guard.simulation.history import Placed
from stream_guard.simulation.stream import programme
from stream_guard.simulation.typologies import LOOK_ALIKES, TYPOLOGIES
from tests.simulation import triggers


def members(placed: Placed) -> set[int]:
    return {row for step in placed.episode.steps for row in (step.payer, step.payee)}


def seen_in(history: History, placed: Placed, messages: list[dict[str, Any]]) -> Any:
    """Everything about the accounts of an episode: its payments, their past, facts, changes, lists."""
    names = {str(history.bank.names[row]) for row in members(placed) if history.bank.party[row] <= 2}
    paid = [
        triggers.Paid(
            m["ts"] / 1000,
            m["account"],
            m["counterparty"],
            m["amount"],
            m.get("payer_balance_before"),
            m.get("device_id"),
            (m["latitude"], m["longitude"]) if "latitude" in m else None,
        )
        for m in messages
        if m["account"] in names or m["counterparty"] in names
    ]
    facts = [history.bank.facts(row) for row in members(placed)]
    return triggers.Seen(
        sorted(paid, key=lambda p: p.ts),
        opened={f["account"]: f["opened"] / 1000 for f in facts},
        birth_year={f["account"]: f["holder_birth_year"] for f in facts if f["holder_birth_year"]},
        changed={
            str(history.bank.names[change.account]): placed.start_ms / 1000 - change.before_s
            for change in placed.episode.changes
        },
        listed={str(history.bank.names[listing.account]) for listing in placed.episode.listings},
    )


def of(history: History, name: str) -> Placed:
    return next(p for p in [*history.episodes, *history.cast] if p.episode.typology == name)


@pytest.fixture(scope="module")
def transactions(staged: History) -> list[dict[str, Any]]:
    return list(staged.transactions())


@pytest.fixture(scope="module")
def lived(before_live: History) -> list[dict[str, Any]]:
    """The history and 20 live seconds after it."""
    start = before_live.end_ms + 20_000
    live = Live(before_live, programme(20, 5), rate=20, seconds=20, start_ms=start, seed=5)
    records = [record for ms in range(0, 20_000, 10) for record in live.due(start + ms)]
    assert live.episodes_left == 0
    return [
        *before_live.transactions(),
        *(orjson.loads(r.value) for r in records if r.topic is Topic.TRANSACTIONS and not r.repeat),
    ]


@pytest.mark.parametrize("name", TYPOLOGIES)
def test_an_episode_in_the_history_meets_the_trigger_of_its_typology(
    name: str, staged: History, transactions: list[dict[str, Any]]
) -> None:
    placed = of(staged, name)
    met = set(triggers.TRIGGERS[name](seen_in(staged, placed, transactions)))
    assert met & {str(staged.bank.names[row]) for row in placed.episode.roles}


@pytest.mark.parametrize("name", TYPOLOGIES)
def test_an_episode_compressed_into_live_seconds_meets_the_trigger_of_its_typology(
    name: str, before_live: History, lived: list[dict[str, Any]]
) -> None:
    placed = of(before_live, name)
    seen = seen_in(before_live, placed, lived)
    assert set(triggers.TRIGGERS[name](seen)) & {
        str(before_live.bank.names[row]) for row in placed.episode.roles
    }


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_look_alike_is_innocent(name: str, staged: History) -> None:
    assert not of(staged, name).episode.fraud


@pytest.mark.parametrize(
    ("name", "looks_like"),
    [
        ("salary-run", "one-in-many-out"),
        ("shop-takings", "many-in-one-out"),
        ("house-purchase", "drain"),
        ("bonus-saved", "rapid-in-out"),
        ("swept-account", "mirror-pass-through"),
        ("supplier-run", "divergence"),
        ("new-kitchen", "ants-moving-house"),
        ("deposit-and-rent", "similar-payments"),
        ("bill-shared", "small-tries"),
        ("new-telephone", "details-changed"),
        ("back-from-abroad", "dormant-wakes"),
        ("savings-moved", "dormant-wakes"),
        ("family-tablet", "shared-device"),
    ],
)
def test_a_look_alike_meets_the_bare_trigger_it_looks_like(
    name: str, looks_like: str, staged: History, transactions: list[dict[str, Any]]
) -> None:
    assert set(triggers.TRIGGERS[looks_like](seen_in(staged, of(staged, name), transactions)))


def test_every_typology_has_a_number_of_the_catalogue_and_a_trigger() -> None:
    numbers = [number for number, _ in TYPOLOGIES.values()]
    assert set(numbers) == set(range(1, 24))
    assert set(triggers.TRIGGERS) == set(TYPOLOGIES)


def test_frauds_have_mules_and_no_account_plays_twice(staged: History) -> None:
    taken: set[int] = set()
    for placed in staged.episodes:
        name = placed.episode.typology
        own = {row for row in members(placed) if staged.bank.party[row] <= 2}
        assert not own & taken
        taken |= own
        if placed.episode.fraud:
            # A copied card pays stores, which are no accounts.
            assert Role.MULE in placed.episode.roles.values() or name == "impossible-travel"
            assert set(placed.episode.roles) <= own
