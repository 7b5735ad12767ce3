"""A simulated history as files: for replays, which ignore the labels, and for backtests, which need them."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_guard.detection.vocabulary import Role
from stream_guard.simulation.bank import Index, Party
from stream_guard.simulation.history import DEFAULT_ZONE, History, generate
from stream_guard.simulation.ledger import CHANNELS, KINDS, SELF_SERVICE, TYPES, address_of, device_of


def write_history(
    path: Path,
    accounts_path: Path,
    *,
    seed: int,
    end_ms: int,
    days: float = 200.0,
    accounts: int = 2_000,
    repeats: int | None = None,
    zone: ZoneInfo = DEFAULT_ZONE,
) -> History:
    """Write a labelled history for replays and backtests.

    The payments go to `path` (Parquet, zstd, in order of ``ts``) with the columns ``event_id, ts, account,
    counterparty, amount, type, channel, payer_kind, payee_kind, device_id, ip, latitude, longitude,
    payer_balance_before, payee_balance_before`` and the labels ``is_fraud, fraud_scenario, fraud_group``.
    The accounts go to `accounts_path` (CSV, gzipped): the facts ``account, kind, opened, holder_birth_year``
    and the labels ``fraud_account, role, first_fraud_ts, last_fraud_ts, n_fraud_events``; a victim is no
    fraud account.

    Parameters
    ----------
    repeats
        How often each typology is played; one for each thousand accounts unless given.

    Returns
    -------
    History
        What was written.

    Raises
    ------
    ValueError
        As in :func:`generate`.
    OSError
        A file cannot be written.
    """
    history = generate(
        seed,
        end_ms,
        days=days,
        accounts=accounts,
        repeats=max(1, accounts // 1_000) if repeats is None else repeats,
        zone=zone,
        only_payments=True,
    )
    pq.write_table(_table(history), path, compression="zstd")
    _write_accounts(history, accounts_path)
    return history


def _table(history: History) -> pa.Table:
    ledger, bank = history.ledger, history.bank
    typology = {placed.group: placed.episode.typology for placed in history.episodes if placed.episode.fraud}
    fraud = ledger.fraud.astype(bool)
    scenarios = [typology.get(group) for group in ledger.group.tolist()]
    self_service = (bank.party[ledger.payer] <= Party.COMPANY) & (ledger.channel < len(SELF_SERVICE))
    kinds = np.array(KINDS)
    names = [name if at < len(bank.accounts) else "" for at, name in enumerate(bank.names.tolist())]
    devices = np.array([device_of(name) if name else "" for name in names])
    addresses = np.array([address_of(name) if name else "" for name in names])
    return pa.table(
        {
            "event_id": pa.array(history.event_ids),
            "ts": pa.array(ledger.ts, pa.timestamp("ms", tz="UTC")),
            "account": pa.array(bank.names[ledger.payer]),
            "counterparty": pa.array(bank.names[ledger.payee]),
            "amount": pa.array(ledger.amount),
            "type": pa.array(np.array(TYPES)[ledger.type]),
            "channel": pa.array(np.array(CHANNELS)[ledger.channel]),
            "payer_kind": pa.array(kinds[bank.party[ledger.payer]]),
            "payee_kind": pa.array(kinds[bank.party[ledger.payee]]),
            "device_id": pa.array(devices[_through(ledger.device, ledger.payer)], mask=~self_service),
            "ip": pa.array(addresses[_through(ledger.address, ledger.payer)], mask=~self_service),
            "latitude": pa.array(ledger.latitude, from_pandas=True),
            "longitude": pa.array(ledger.longitude, from_pandas=True),
            "payer_balance_before": pa.array(ledger.payer_balance, from_pandas=True),
            "payee_balance_before": pa.array(ledger.payee_balance, from_pandas=True),
            "is_fraud": pa.array(ledger.fraud.astype(np.int8)),
            "fraud_scenario": pa.array(scenarios, pa.string()),
            "fraud_group": pa.array(ledger.group, mask=~fraud),
        }
    )


def _through(whose: Index, payer: Index) -> Index:
    return np.where(whose < 0, payer, whose)


def _write_accounts(history: History, path: Path) -> None:
    bank, ledger = history.bank, history.ledger
    frauds = np.flatnonzero(ledger.fraud)
    times: dict[int, list[int]] = {}
    for event in frauds.tolist():
        for party in (int(ledger.payer[event]), int(ledger.payee[event])):
            times.setdefault(party, []).append(int(ledger.ts[event]))
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(
            [
                "account",
                "kind",
                "opened",
                "holder_birth_year",
                "fraud_account",
                "role",
                "first_fraud_ts",
                "last_fraud_ts",
                "n_fraud_events",
            ]
        )
        for row in sorted(bank.accounts.tolist(), key=lambda row: str(bank.names[row])):
            truth = history.truth.get(str(bank.names[row]))
            own = times.get(row, []) if truth else []
            year = int(bank.birth_year[row])
            out.writerow(
                [
                    bank.names[row],
                    bank.facts(row)["kind"],
                    _iso(int(bank.opened[row])),
                    year or "",
                    int(truth is not None and truth.role is Role.MULE),
                    truth.role.value if truth else "normal",
                    _iso(min(own)) if own else "",
                    _iso(max(own)) if own else "",
                    len(own),
                ]
            )


def _iso(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds")
