"""``stream-guard rules fit``: a rule pack with the values that a bank's own history asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_guard.cli.common import ConfigOption, check_target, say, settings_of
from stream_guard.cli.histories import (
    HistoryArgument,
    MapOption,
    PackOption,
    context_of,
    inputs_of,
    progress_bar,
)

if TYPE_CHECKING:
    from stream_guard.detection.rules import Pack
    from stream_guard.tuning.fit import Fitted


def fit(
    history: HistoryArgument,
    out: Annotated[
        Path, typer.Option("--out", metavar="PACK.yaml", help="File to write.", show_default=False)
    ],
    accounts: Annotated[
        Path | None,
        typer.Option(help="Accounts file (CSV, also gzipped): which accounts are own, and facts."),
    ] = None,
    until: Annotated[
        str, typer.Option("--until", help="Read nothing from here on: a date, or a fraction of the history.")
    ] = "0.6",
    cold: Annotated[
        bool, typer.Option("--cold", help="From amounts, counts and evidence alone; no label is read.")
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Accounts a day that one rule may fire for.",
            show_default="5 % of the accounts over the whole time",
        ),
    ] = None,
    pack: PackOption = None,
    config: ConfigOption = None,
    mapping: MapOption = None,
) -> None:
    """Fit every rule's parameters to a bank's own history: same rules, same parameters, other values.

    Without --cold, scores and limits go by `is_fraud` before --until: hit rate and recall under the budget.
    `fraud_account`, roles and whatever else is known only afterwards are never read. The pack says of every
    value where it comes from. Judge the result on later payments: backtest --pack PACK.yaml --from 0.6.
    """
    from stream_guard.tuning.fit import fit as run
    from stream_guard.tuning.fitted_text import Head, fitted_text

    check_target(out)
    settings = settings_of(config)
    inputs = inputs_of(settings, history, accounts, mapping, begin=None, until=until, warm_up=None)
    own = inputs.accounts.accounts if inputs.accounts is not None else None
    context = context_of(settings, pack, None, 1)
    file = pack or settings.models.pack
    published = file.read_text(encoding="utf-8-sig")
    with progress_bar() as tell:
        # Which accounts there are is no label; what else the file says of them is.
        result = run(replace(inputs, accounts=None), context, own, cold=cold, budget=budget, tell=tell)
    span = inputs.period.as_dict()
    head = Head(
        history=history.parent.name + "/" + history.name if history.parent.name else history.name,
        since=result.since,
        until=str(span["until"]),
        method=result.method,
        payments=result.payments,
        accounts=result.accounts,
        fraud=result.fraud,
        base=context.pack.pack.label,
    )
    text = fitted_text(published, str(file), head, result.rules)
    out.write_text(text, encoding="utf-8")
    _tell(context.pack.pack, result.rules, cold=cold, method=result.method)
    say(f"{out} is written: {result.method}, {result.payments:,} payments of {result.accounts:,} accounts.")


def _tell(pack: Pack, rules: dict[str, Fitted], *, cold: bool, method: str) -> None:
    if method == "cold" and not cold:
        say("No payment before --until is labelled as fraud: parameters are derived as with --cold.")
    for rule in pack.rules:
        fitted = rules.get(rule.id)
        if fitted is None:
            continue
        values = ", ".join(f"{name} {value:,.10g}" for name, value in fitted.values.items())
        typer.echo(f"{rule.id}: {fitted.note}{f': {values}' if values else ''}")
