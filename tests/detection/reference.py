"""What the profiles must compute, the obvious way: a list of every payment of every account, and loops."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from stream_guard.detection.bank import Bank
from stream_guard.detection.features import DAY, FEATURES, HOUR, PAIR_WINDOWS, RING, WINDOWS
from stream_guard.detection.hashing import text_code

COUNTED, SEEN, TOO_OLD, CONFLICT = range(4)
NAN = math.nan
ACCOUNT_NAMES = [f.name.removeprefix("payer.") for f in FEATURES if f.side == "payer" and f.hop == 1]
PAIR_NAMES = [f.name for f in FEATURES if f.side == "pair"]


def local_time(ts: int, bank: Bank) -> datetime:
    return datetime.fromtimestamp(ts / 1000, ZoneInfo(bank.timezone))


def local_day(ts: int, bank: Bank) -> int:
    return local_time(ts, bank).toordinal() - datetime(1970, 1, 1).toordinal()


def content_of(event: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sorted((k, v) for k, v in event.items() if k != "event_id" and v is not None))


@dataclass
class Entry:
    """One leg that was counted."""

    ts: int
    day: int
    night: bool
    out: bool
    amount: float
    other: str
    event: str
    content: tuple[Any, ...]
    device: str | None = None
    action: int = 0


@dataclass
class Parcel:
    """Tainted money that came in one payment at one hop, what is left of it."""

    hop: int
    amount: float


@dataclass
class Account:
    """Everything ever counted, in order of arrival, and every update."""

    counted: list[Entry] = field(default_factory=list)
    facts: dict[str, tuple[int, Any]] = field(default_factory=dict)
    changes: dict[str, set[int]] = field(default_factory=lambda: {"credentials": set(), "address": set()})
    balances: list[tuple[int, float]] = field(default_factory=list)
    place: tuple[int, float, float] | None = None
    parcels: list[Parcel] = field(default_factory=list)
    parcels_at: int = 0

    @property
    def ring(self) -> list[Entry]:
        """The last 64 payments in event time, equal times in order of arrival."""
        return sorted(self.counted, key=lambda e: e.ts)[-RING:]

    @property
    def newest(self) -> int | None:
        return max((e.ts for e in self.counted), default=None)


class ReferenceProfiles:
    """Same answers as `Profiles`, one payment at a time."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.accounts: dict[str, Account] = {}

    def account(self, name: str) -> Account:
        return self.accounts.setdefault(name, Account())

    def is_account(self, event: dict[str, Any], side: str) -> bool:
        party = event["account" if side == "payer" else "counterparty"]
        return self.bank.is_account(party, event.get(f"{side}_kind"))

    def entry(self, event: dict[str, Any], out: bool) -> Entry:
        moment = local_time(event["ts"], self.bank)
        rate = self.bank.rate_of(event["currency"])
        assert rate is not None
        return Entry(
            event["ts"],
            local_day(event["ts"], self.bank),
            moment.hour < 6,
            out,
            event["amount"] * rate,
            event["counterparty" if out else "account"],
            event["event_id"],
            content_of(event),
            event.get("device_id"),
        )

    def payer_hop(self, event: dict[str, Any], level: float = 0) -> tuple[int, int, dict[str, float]]:
        """Status, stored action, payer, pair and other features of the row (no key: missing)."""
        own = {"txn.tainted": event["amount"] * level / 100, "txn.taint_hops": 1.0 if level else NAN}
        if not self.is_account(event, "payer"):
            return COUNTED, 0, own
        account = self.account(event["account"])
        now = self.entry(event, out=True)
        for old in account.ring:
            if old.out and old.event == now.event:
                return (SEEN if old.content == now.content else CONFLICT), old.action, {}
        paid = [e.ts for e in account.counted if e.out]
        if paid and now.ts < max(paid) - self.bank.horizon_ms:
            return TOO_OLD, 0, {}
        figures = {f"payer.{k}": v for k, v in self.block(account, now).items()} | self.pair(account, now)
        figures["payer.balance_mean"] = self.balance_mean(account, now.ts, event.get("payer_balance_before"))
        figures |= self.travel(account, now.ts, event) | own
        figures["payer.tainted"] = held = self.held(account, now.ts)
        carried = self.leave(account, held, event)
        if sum(carried.values()) > own["txn.tainted"]:
            figures["txn.tainted"] = sum(carried.values())
            figures["txn.taint_hops"] = sum(h * a for h, a in carried.items()) / sum(carried.values())
        account.counted.append(now)
        return COUNTED, 0, figures

    def payee_hop(
        self, event: dict[str, Any], repeat: bool, action: int, tainted: float = 0, hops: float = NAN
    ) -> tuple[int, int, dict[str, float]]:
        """Status, stored action, payee features (no key: missing)."""
        account = self.account(event["counterparty"]) if self.is_account(event, "payee") else None
        now = self.entry(event, out=False)
        twins = [e for e in account.ring if not e.out and e.event == now.event] if account else []
        same = [e for e in twins if e.content == now.content]
        if repeat:
            return SEEN, max([action, *(e.action for e in same)]), {}
        if same:
            return SEEN, max(action, same[0].action), {}
        if twins and not self.is_account(event, "payer"):
            return CONFLICT, twins[0].action, {}
        if account is None:
            return COUNTED, 0, {}
        figures = {f"payee.{k}": v for k, v in self.block(account, now).items()}
        figures["payee.balance_mean"] = self.balance_mean(account, now.ts, event.get("payee_balance_before"))
        held = self.held(account, now.ts)
        if tainted > 0:
            account.parcels_at = account.parcels_at if account.parcels else now.ts
            nearer = 1 if hops == 1 else 2
            account.parcels.append(Parcel(nearer, tainted * (nearer + 1 - hops)))
            account.parcels.append(Parcel(nearer + 1, tainted * (hops - nearer)))
        figures["payee.tainted"] = held + tainted
        account.counted.append(now)
        return COUNTED, action, figures

    def set_action(self, name: str, event: str, action: int) -> None:
        for out in (True, False):
            for e in reversed(self.accounts[name].ring if name in self.accounts else []):
                if e.out == out and e.event == event:
                    e.action = action
                    break

    def update_facts(self, name: str, ts: int, changed: str | None = None, **facts: Any) -> None:
        account = self.account(name)
        for key, value in facts.items():
            if value is not None and (key not in account.facts or ts >= account.facts[key][0]):
                account.facts[key] = (ts, value)
        if changed:
            account.changes["address" if changed == "address" else "credentials"].add(ts)

    def block(self, account: Account, now: Entry) -> dict[str, float]:
        """The account block of a payment that is not yet counted."""
        t, ring = now.ts, account.ring
        late = account.newest is not None and t < account.newest
        before = [e for e in ring if e.ts <= t]
        figures: dict[str, float] = {}
        for window, length in WINDOWS.items():
            of_days: list[Entry] = []
            if length >= 3 * DAY and len(account.counted) > RING and ring[0].ts > t - length:
                of_days = self.whole_days([*account.counted, now], t - length)
                if late:
                    own = [e for e in [*before, now] if e.day == now.day]
                    of_days = [e for e in of_days if e.day < now.day] + own
            for way in ("in", "out"):
                earlier = [e for e in before if e.ts > t - length and e.out == (way == "out")]
                entries = earlier + ([now] if now.out == (way == "out") else [])
                count, total = len(entries), math.fsum(e.amount for e in entries)
                entries = [e for e in of_days if e.out == (way == "out")]
                count, total = max(count, len(entries)), max(total, math.fsum(e.amount for e in entries))
                figures[f"{way}_count_{window}"] = count
                figures[f"{way}_sum_{window}"] = total
                figures[f"{way}_max_{window}"] = max((e.amount for e in earlier), default=NAN)
                others = {e.other for e in earlier} | ({now.other} if now.out == (way == "out") else set())
                figures[f"{way}_distinct_{window}"] = len(others)
        for way in ("in", "out"):
            amounts = [e.amount for e in account.counted if e.out == (way == "out")]
            figures[f"{way}_mean"] = statistics.fmean(amounts) if amounts else NAN
            figures[f"{way}_std"] = statistics.stdev(amounts) if len(amounts) > 1 else NAN
            figures[f"{way}_max"] = max(amounts, default=NAN)
            figures[f"{way}_count"] = len(amounts)
        first = min((e.ts for e in account.counted), default=None)
        figures["idle_s"] = (t - max(e.ts for e in before)) / 1000 if before else NAN
        figures["first_seen_s"] = (t - first) / 1000 if first is not None and first <= t else NAN
        figures |= self.facts(account, t)
        figures["out_night_max_90d"] = self.night_max(account, now, late)
        outs = [e for e in before if e.out] + ([now] if now.out else [])
        near = [e for e in outs if any(limit * 0.99 <= e.amount < limit for limit in self.bank.limits)]
        small = [e for e in outs if e.amount <= self.bank.small_amount]
        figures["out_near_limit_count_30d"] = sum(e.ts > t - 30 * DAY for e in near)
        figures["out_small_count_1h"] = sum(e.ts > t - HOUR for e in small)
        figures["out_small_count_7d"] = sum(e.ts > t - 7 * DAY for e in small)
        figures["out_small_sum_7d"] = math.fsum(e.amount for e in small if e.ts > t - 7 * DAY)
        ins = [e for e in before if not e.out] + ([] if now.out else [now])
        same = [e for e in ins if e.device == now.device and e.ts > t - 7 * DAY]
        figures["in_device_distinct_7d"] = len({e.other for e in same}) if now.device else NAN
        figures["in_device_sum_7d"] = math.fsum(e.amount for e in same) if now.device else NAN
        assert sorted([*figures, "balance_mean", "tainted"]) == sorted(ACCOUNT_NAMES)
        return figures

    @staticmethod
    def balance_mean(account: Account, t: int, balance: float | None) -> float:
        known = account.balances
        if balance is not None and (not known or t > known[-1][0]):
            known.append((t, balance))
        if len(known) < 2:
            return NAN
        stood = [(b - a, balance) for (a, _), (b, balance) in pairwise(known)]
        return math.fsum(span * balance for span, balance in stood) / (known[-1][0] - known[0][0])

    @staticmethod
    def travel(account: Account, t: int, event: dict[str, Any]) -> dict[str, float]:
        if event.get("latitude") is None or event.get("longitude") is None:
            return {}
        last, here = account.place, (t, event["latitude"], event["longitude"])
        if last is None or t >= last[0]:
            account.place = here
        if last is None:
            return {}
        a, b = (
            (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat))
            for lat, lon in ((math.radians(p[1]), math.radians(p[2])) for p in (last, here))
        )
        km = 6371.0088 * 2 * math.asin(min(1, math.dist(a, b) / 2))
        return {"txn.travel_km": km, "txn.travel_kmh": km / (max(1000, abs(t - last[0])) / HOUR)}

    @staticmethod
    def held(account: Account, t: int) -> float:
        """Let the account's tainted money fade to `t`; all of it."""
        if t > account.parcels_at:
            for parcel in account.parcels:
                parcel.amount *= 0.5 ** ((t - account.parcels_at) / (7 * DAY))
            account.parcels_at = t
        held = math.fsum(parcel.amount for parcel in account.parcels)
        if held < 0.01:
            account.parcels.clear()
            return 0.0
        return held

    @staticmethod
    def leave(account: Account, held: float, event: dict[str, Any]) -> dict[int, float]:
        """What a payment carries on, by hop."""
        balance = event.get("payer_balance_before")
        share = event["amount"] / max(event["amount"], held, balance or 0)
        carried = {2: 0.0, 3: 0.0}
        for parcel in account.parcels:
            if parcel.hop < 3:
                carried[parcel.hop + 1] += 0.8 * share * parcel.amount
            parcel.amount *= 1 - share
        return carried if sum(carried.values()) >= 0.01 else {}

    @staticmethod
    def whole_days(counted: list[Entry], edge: int) -> list[Entry]:
        """Payments of the last 31 local days whose day has no payment at or before `edge`."""
        last = max(e.day for e in counted)
        days: dict[int, list[Entry]] = {}
        for e in counted:
            if e.day > last - 31:
                days.setdefault(e.day, []).append(e)
        return [e for day in days.values() if min(x.ts for x in day) > edge for e in day]

    def facts(self, account: Account, t: int) -> dict[str, float]:
        opened = account.facts.get("opened", (0, None))[1]
        born = account.facts.get("birth_year", (0, None))[1]
        kind = account.facts.get("kind", (0, None))[1]

        def since(what: str) -> float:
            kept = sorted(account.changes[what])[-2:]
            return min(((t - c) / 1000 for c in kept if c <= t), default=NAN)

        return {
            "account_age_d": (t - opened) / DAY if opened is not None and opened <= t else NAN,
            "holder_age_y": local_time(t, self.bank).year - born if born is not None else NAN,
            "kind": text_code(kind) if kind is not None else NAN,
            "changed_s": since("credentials"),
            "address_changed_s": since("address"),
        }

    @staticmethod
    def night_max(account: Account, now: Entry, late: bool) -> float:
        nights = [e for e in account.counted if e.out and e.night]
        period = now.day // 15
        newest = max((e.day // 15 for e in nights), default=period)
        reach = range(max(period, newest) - 6, period + (0 if late else 1))
        amounts = [e.amount for e in nights if e.day // 15 in reach]
        if late:
            own = [e for e in account.ring if e.out and e.night and e.day // 15 == period and e.ts <= now.ts]
            amounts += [e.amount for e in own]
        return max(amounts, default=0.0)

    def pair(self, account: Account, now: Entry) -> dict[str, float]:
        t = now.ts
        before = [e for e in account.ring if e.ts <= t and e.other == now.other]
        paid = [e for e in before if e.out]
        got = [e for e in before if not e.out]
        figures: dict[str, float] = {"pair.seen_before": float(bool(paid))}
        for window in PAIR_WINDOWS:
            edge = t - WINDOWS[window]
            for way, entries in (("out", [*paid, now]), ("in", got)):
                amounts = [e.amount for e in entries if e.ts > edge]
                figures[f"pair.{way}_count_{window}"] = len(amounts)
                figures[f"pair.{way}_sum_{window}"] = math.fsum(amounts)
        margin = 0.1 * now.amount
        similar = [e for e in [*paid, now] if e.ts > t - 5 * DAY and abs(e.amount - now.amount) <= margin]
        figures["pair.out_similar_count_5d"] = len(similar)
        figures["pair.out_min_24h"] = min((e.amount for e in paid if e.ts > t - DAY), default=NAN)
        assert sorted(figures) == sorted(PAIR_NAMES)
        return figures
