"""``stream-guard rules diff``: whom two packs decide about otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from stream_guard.cli.common import ConfigOption, JsonOption, settings_of, visible, write_json
from stream_guard.cli.histories import (
    AccountsOption,
    FromOption,
    MapOption,
    PartitionsOption,
    PolicyOption,
    UntilOption,
    WarmUpOption,
    context_of,
    inputs_of,
    number,
    percent,
    progress_bar,
)


def diff(
    old: Annotated[Path, typer.Argument(metavar="A.yaml", help="The pack as it is.", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="B.yaml", help="The pack as proposed.", show_default=False)],
    history: Annotated[Path, typer.Option(help="Parquet file of payments.", show_default=False)],
    accounts: AccountsOption = None,
    examples: Annotated[
        int, typer.Option(min=0, max=1000, help="Payments and accounts of a kind to name.")
    ] = 5,
    policy: PolicyOption = None,
    config: ConfigOption = None,
    begin: FromOption = None,
    until: UntilOption = None,
    warm_up: WarmUpOption = None,
    mapping: MapOption = None,
    partitions: PartitionsOption = None,
    json: JsonOption = False,
) -> None:
    """Decide a recorded history by two packs in one pass, and show whom they decide about otherwise.

    What a reviewer of a change needs: what was changed in the rules, the figures before and after, payments
    that get another action, accounts that are newly warned and no longer warned, with examples.
    """
    from stream_guard.backtest.compare import compare

    settings = settings_of(config)
    before, after = (context_of(settings, pack, policy, partitions) for pack in (old, new))
    inputs = inputs_of(settings, history, accounts, mapping, begin=begin, until=until, warm_up=warm_up)
    with progress_bar() as tell:
        document = compare(inputs, before, after, examples=examples, tell=tell)
    if json:
        write_json(document)
        return
    for line in told(document, ZoneInfo(settings.bank.timezone)):
        typer.echo(line)


def told(document: Mapping[str, Any], zone: ZoneInfo) -> Iterator[str]:
    """The differences for people, line by line.

    Parameters
    ----------
    document
        What `compare` found.
    zone
        In which times are shown.
    """
    yield f"{document['old']['pack']} -> {document['new']['pack']}"
    when = document["period"]
    yield f"judged {when['from']} until {when['until']}, {document['judged_events']:,} payments"
    yield from _rules(document["rules"])
    yield from _figures(document["old"], document["new"])
    yield from _payments(document, zone)
    yield from _accounts(document["accounts"], zone)


def _rules(rules: list[dict[str, Any]]) -> Iterator[str]:
    yield ""
    yield "Rules" if rules else "Rules: the same"
    for rule in rules:
        yield f"  {rule['change']} {rule['rule']}"
        for name, (before, after) in rule["fields"].items():
            yield f"    {name}: {_value(before)} -> {_value(after)}"
        if rule["change"] == "changed" and "version" not in rule["fields"]:
            yield "    its version is the same: figures kept by version will mix the two"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.10g}"
    return "-" if value is None else visible(str(value))


def _figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        ("warnings a day", *(f"{pack['warnings_a_day']:.2f}" for pack in (old, new))),
        ("hit rate", *(percent(pack["hit_rate"]) for pack in (old, new))),
        ("recall", *(percent(pack["recall"]) for pack in (old, new))),
        ("hit@50", *(number(pack["accounts"]["hit_at_50"]) for pack in (old, new))),
        ("hit@K", *(number(pack["accounts"]["hit_at_k"]) for pack in (old, new))),
        ("intercepted", *(_amount(pack["amount"]["intercepted"]) for pack in (old, new))),
    ]
    yield ""
    yield f"{'Figures':<18}{'A':>12}{'B':>12}"
    for name, before, after in rows:
        yield f"  {name:<16}{before:>12}{after:>12}"


def _amount(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _payments(document: Mapping[str, Any], zone: ZoneInfo) -> Iterator[str]:
    found = document["payments"]
    yield ""
    yield (
        f"Payments: {found['changed']:,} decided otherwise, {found['stricter']:,} of them more strictly;"
        f" {found['rescored']:,} more have another score"
    )
    for move in found["moves"]:
        count = "1 payment" if move["payments"] == 1 else f"{move['payments']:,} payments"
        fraud = "" if move["fraud"] is None else f", {move['fraud']:,} fraudulent"
        yield f"  {move['from']} -> {move['to']}: {count}, {move['amount']:,.0f}{fraud}"
        for one in move["examples"]:
            yield (
                f"    {visible(one['event_id'])}  {_moment(one['ts'], zone)}  {visible(one['account'])} to"
                f" {visible(one['counterparty'])}  {one['amount']:,.2f}"
                f"  score {one['old_score']:.1f} -> {one['new_score']:.1f}{'  FRAUD' if one['fraud'] else ''}"
            )
            yield from _reasons(one["old_reasons"], one["new_reasons"])


def _reasons(old: list[dict[str, str]], new: list[dict[str, str]]) -> Iterator[str]:
    """Reasons that only one pack gives with their sign; those of both, whatever the version, without."""

    def said(reasons: list[dict[str, str]]) -> dict[tuple[str, str], str]:
        return {(one["rule"].partition("@")[0], one["text"]): _reason(one) for one in reasons}

    before, after = said(old), said(new)
    for key, text in before.items():
        yield f"      {' ' if key in after else '-'} {text}"
    for key, text in after.items():
        if key not in before:
            yield f"      + {text}"


def _reason(one: Mapping[str, str]) -> str:
    return f"{one['rule']}: {visible(one['text'])}"


def _accounts(accounts: Mapping[str, Any], zone: ZoneInfo) -> Iterator[str]:
    yield ""
    yield f"Accounts: {accounts['both']:,} warned by both packs"
    for kind in ("newly_warned", "no_longer_warned"):
        found = accounts[kind]
        judged = "" if found["right"] is None else f" ({found['right']:,} right, {found['wrong']:,} wrong)"
        yield f"  {kind.replace('_', ' ')}: {found['accounts']:,}{judged}"
        for one in found["examples"]:
            yield (
                f"    {visible(one['account'])}  {_moment(one['opened_at'], zone)}"
                f"  highest score {one['old_score']:.1f} -> {one['new_score']:.1f}"
                f"{'  ' + one['judged'] if one['judged'] else ''}"
            )
            for reason in one["reasons"]:
                yield f"        {_reason(reason)}"


def _moment(ms: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone):%Y-%m-%d %H:%M}"
