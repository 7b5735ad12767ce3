"""What a history must lead to, computed from outside by pandas alone.

What the decisions of a run prove, although the two hops of different payments interleave as they like:

- *Payers.* The payments of an account reach its row in the order of the topic, always. So every figure about
  payments out is determined, whatever was killed when, and is compared for every payment.
- *Payees.* Payments in reach a row in whatever order their legs arrive, and a leg lost with the process that
  applied it may arrive in another order the next time. The last decision on a payment is the one made when it
  was applied for good: nothing that is durable is applied again. It carries its place in that order,
  ``payee.in_count``: in these an account's payments in must be numbered 0, 1, 2 ... without a gap (a payment
  missed) or a repetition (one counted twice), those of one source partition in the topic's order, and every
  other figure must follow from that order.
- *Totals.* At the end a probe from every account, to a party that is none, shows both directions of its row.

An account takes part in fewer payments than its ring holds, so that no figure is a floor; the few busy ones
are compared by the figures that have no window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import orjson
import pandas as pd
from confluent_kafka import Message

from stream_guard.alerts import Alert, warning_id
from stream_guard.detection.hashing import murmur2_partitions

WARN_AT = 50.0
HOUR = 3_600_000
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR}

MEASURES = ("count", "sum", "max", "distinct")
PAYER_FIGURES = (
    *(f"payer.out_{measure}_{window}" for measure in MEASURES for window in WINDOWS),
    "payer.out_count", "payer.out_mean", "payer.out_max", "pair.seen_before", "pair.out_count_30d",
)  # fmt: skip
PAYEE_FIGURES = (
    *(f"payee.in_{measure}_{window}" for measure in MEASURES for window in WINDOWS),
    "payee.in_count", "payee.in_mean", "payee.in_max",
)  # fmt: skip
TOTALS = (
    *(f"payer.in_{measure}" for measure in ("count", "mean", "max", "count_30d", "sum_30d", "distinct_30d")),
    *(f"payer.out_{measure}" for measure in ("count", "count_30d", "sum_30d")),
)
FIGURES = tuple(dict.fromkeys((*PAYER_FIGURES, *PAYEE_FIGURES, *TOTALS)))


def decisions(records: Iterable[Message]) -> pd.DataFrame:
    """Decision messages in the order in which they were written, one row a message."""
    frame = pd.DataFrame.from_records(list(map(_row, records)), columns=_COLUMNS)
    return frame.sort_values(["partition", "offset"], ignore_index=True)


_COLUMNS = ["partition", "offset", "event_id", "account", "counterparty", "amount", "action", "repeat",
            "payer_score", "payee_score", "payer_warn", "payee_warn", *FIGURES]  # fmt: skip


def _row(record: Message) -> tuple[Any, ...]:
    value = orjson.loads(record.value())
    features = value["features"] or {}
    scores, warns = {"payer": 1.0, "payee": 1.0}, {"payer": False, "payee": False}
    for reason in value["reasons"]:
        scores[reason["side"]] *= 1 - reason["score"] / 100
        warns[reason["side"]] |= reason["rule"].startswith("police-listed")
    figures = [features.get(name) for name in FIGURES]
    return (
        record.partition(), record.offset(), value["event_id"], value["account"], value["counterparty"],
        value["amount"], value["action"], value["repeat"], 100 * (1 - scores["payer"]),
        100 * (1 - scores["payee"]), warns["payer"], warns["payee"], *figures,
    )  # fmt: skip


def check_decided(sent: pd.DataFrame, decided: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every payment is decided and nothing else is; returns first and last decisions in the order sent."""
    assert set(decided["event_id"]) == set(sent["event_id"])
    assert not decided["repeat"].any(), "a payment was taken for one sent again"
    by_event = decided.groupby("event_id", sort=False)
    first, last = (part.set_index("event_id").loc[sent["event_id"]].reset_index()
                   for part in (by_event.head(1), by_event.tail(1)))  # fmt: skip
    for name in ("account", "counterparty", "amount"):
        np.testing.assert_array_equal(first[name], sent[name])
    return first, last


def check_payers(sent: pd.DataFrame, got: pd.DataFrame, busy: Iterable[str] = ()) -> None:
    """Figures about payments out: the order of the topic decides them."""
    expected = figures(sent, "payer.out", sent["account"], sent["counterparty"])
    seen = sent.groupby(["account", "counterparty"]).cumcount()
    expected["pair.seen_before"] = (seen > 0).astype(float)
    expected["pair.out_count_30d"] = seen + 1.0
    # A late payment does not see the payments to the same payee that lie after it.
    late = sent["ts"] < sent.groupby("account")["ts"].cummax()
    _compare(
        expected,
        got,
        PAYER_FIGURES,
        sent["account"],
        busy,
        skip={"pair.seen_before": late, "pair.out_count_30d": late},
    )


def check_payees(sent: pd.DataFrame, got: pd.DataFrame, partitions: int, busy: Iterable[str] = ()) -> None:
    """Payments in: the decisions say in which order they were applied; everything must follow from it."""
    place = got["payee.in_count"]
    assert place.notna().all()
    order = sent.assign(
        place=place, source=murmur2_partitions([a.encode() for a in sent["account"]], partitions)
    )
    ranked = order.sort_values(["counterparty", "place"], kind="stable")
    numbered = ranked.groupby("counterparty").cumcount()
    wrong = ranked[ranked["place"] != numbered]
    assert wrong.empty, f"payments in were missed or counted twice:\n{wrong.head()}"
    # Legs of one source partition arrive in its order.
    position = pd.Series(ranked.index, index=ranked.index)
    lane = [ranked["counterparty"], ranked["source"]]
    assert (position.groupby(lane).diff().dropna() > 0).all(), (
        "legs of one source partition overtook each other"
    )
    expected = figures(ranked, "payee.in", ranked["counterparty"], ranked["account"]).loc[sent.index]
    _compare(expected, got, PAYEE_FIGURES, sent["counterparty"], busy)


def check_totals(sent: pd.DataFrame, probe: pd.DataFrame, busy: Iterable[str] = ()) -> None:
    """Both directions of every account, as a last payment of it saw them."""
    probe = probe.set_index("account")
    outs, ins = sent.groupby("account"), sent.groupby("counterparty")
    accounts = probe.index
    expected = pd.DataFrame(
        {
            "payer.out_count": outs.size().reindex(accounts, fill_value=0),
            "payer.in_count": ins.size().reindex(accounts, fill_value=0),
            "payer.in_mean": ins["amount"].mean().reindex(accounts),
            "payer.in_max": ins["amount"].max().reindex(accounts),
            "payer.in_count_30d": ins.size().reindex(accounts, fill_value=0),
            "payer.in_sum_30d": ins["amount"].sum().reindex(accounts, fill_value=0.0),
            "payer.in_distinct_30d": ins["account"].nunique().reindex(accounts, fill_value=0),
            # The probe itself is a payment out of 1.00.
            "payer.out_count_30d": outs.size().reindex(accounts, fill_value=0) + 1,
            "payer.out_sum_30d": outs["amount"].sum().reindex(accounts, fill_value=0.0) + 1,
        }
    ).astype(float)
    _compare(expected, probe, TOTALS, pd.Series(accounts, index=accounts), busy)


def figures(frame: pd.DataFrame, prefix: str, account: pd.Series[str], other: pd.Series[str]) -> pd.DataFrame:
    """Figures of one direction, account by account, in the order of the rows."""
    owner, party = pd.factorize(account)[0], pd.factorize(other)[0]
    order = np.argsort(owner, kind="stable")
    names = [f"{prefix}_{measure}_{window}" for measure in MEASURES for window in WINDOWS]
    names += [f"{prefix}_{measure}" for measure in ("count", "mean", "max")]
    values = np.empty((len(frame), len(names)))
    ts, amount = frame["ts"].to_numpy(), frame["amount"].to_numpy(float)
    for at in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        values[at] = _of_account(ts[at], amount[at], party[at])
    return pd.DataFrame(values, index=frame.index, columns=names)


def _of_account(ts: Any, amount: Any, party: Any) -> Any:
    """Figures of one account's payments in one direction, in the order applied: a row a payment."""
    n = len(ts)
    earlier = np.tri(n, k=-1, dtype=bool) & (ts[None, :] <= ts[:, None])
    itself = np.eye(n, dtype=bool)
    befores = [earlier & (ts[None, :] > ts[:, None] - length) for length in WINDOWS.values()]
    parties = party[:, None] == np.unique(party)
    columns = [(before | itself).sum(1) for before in befores]
    columns += [(before | itself) @ amount for before in befores]
    columns += [np.where(before, amount, -np.inf).max(1) for before in befores]
    columns += [((before | itself).astype(float) @ parties > 0).sum(1) for before in befores]
    whole = np.arange(n)
    columns.append(whole)
    columns.append(np.where(whole > 0, (np.cumsum(amount) - amount) / np.maximum(whole, 1), np.nan))
    columns.append(np.concatenate([[-np.inf], np.maximum.accumulate(amount)[:-1]]))
    table = np.column_stack(columns).astype(float)
    return np.where(np.isinf(table), np.nan, table)


def _compare(
    expected: pd.DataFrame,
    got: pd.DataFrame,
    names: Iterable[str],
    account: pd.Series[str],
    busy: Iterable[str],
    skip: dict[str, pd.Series[bool]] | None = None,
) -> None:
    crowded = account.isin(list(busy))
    for name in names:
        left_out = (skip or {}).get(name)
        windowed = name.rpartition("_")[2] in WINDOWS or name.startswith("pair.")
        rows = ~crowded if windowed else crowded | True
        if left_out is not None:
            rows &= ~left_out
        want = expected.loc[rows, name].to_numpy(float)
        have = got.loc[rows, name].to_numpy(float)
        equal = np.isclose(have, want, rtol=1e-9, atol=1e-6, equal_nan=True)
        if not equal.all():
            at = np.flatnonzero(~equal)
            shown = pd.DataFrame({"account": account[rows], "expected": want, "got": have}).iloc[at[:5]]
            raise AssertionError(f"{name} differs for {len(at)} of {len(want)} payments:\n{shown}")


def alerts(records: Iterable[Message]) -> list[Alert]:
    """Alerts in order of partition and offset."""
    ordered = sorted(records, key=lambda record: (record.partition(), record.offset()))
    return [Alert.model_validate_json(record.value()) for record in ordered]


def check_alerts(found: list[Alert], last: pd.DataFrame) -> None:
    """Each (warning, revision) once, in order, without a gap; the accounts are those the decisions say."""
    by_warning: dict[str, list[Alert]] = {}
    for alert in found:
        by_warning.setdefault(alert.warning_id, []).append(alert)
    for warning, revisions in by_warning.items():
        numbers = [alert.revision for alert in revisions]
        assert numbers == list(range(1, len(numbers) + 1)), f"warning {warning} has revisions {numbers}"
        opened = revisions[0]
        assert opened.status == "opened"
        assert warning == warning_id(opened.account, opened.event_ids[0])
    opened_on = [revisions[0].account for revisions in by_warning.values()]
    assert len(opened_on) == len(set(opened_on)), "an account has two open warnings"
    assert set(opened_on) == set(_warned(last))


def _warned(last: pd.DataFrame) -> Iterator[str]:
    for side, party in (("payer", "account"), ("payee", "counterparty")):
        speaks = (last[f"{side}_score"] >= WARN_AT - 1e-9) | last[f"{side}_warn"]
        yield from last.loc[speaks, party]
