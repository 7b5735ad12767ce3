"""``stream-guard rules tune``: what other values of a rule's parameters would have done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stream_guard.cli.common import (
    CommandError,
    ConfigOption,
    Exit,
    JsonOption,
    check_target,
    say,
    settings_of,
    write_json,
)
from stream_guard.cli.histories import (
    AccountsOption,
    FromOption,
    HistoryArgument,
    MapOption,
    PackOption,
    PartitionsOption,
    PolicyOption,
    UntilOption,
    WarmUpOption,
    context_of,
    inputs_of,
    percent,
    progress_bar,
)

if TYPE_CHECKING:
    from stream_guard.tuning.choice import Choice
    from stream_guard.tuning.tune import Tried, Tuned

BAR = 10
"""Characters of a bar; the longest of a column is that long."""
WIDTH = 150
"""Characters of a line where no terminal says how many there are."""


def tune(
    history: HistoryArgument,
    rule: Annotated[str, typer.Option("--rule", metavar="ID", help="The rule to tune.", show_default=False)],
    param: Annotated[
        list[str],
        typer.Option(
            "--param",
            metavar="NAME=lo:hi:steps",
            help="Values to try, both ends included; 'score' is a fixed score. Repeatable: all combinations.",
            show_default=False,
        ),
    ],
    accounts: AccountsOption = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, metavar="N", help="Warnings a day the rule may open by itself: choose."),
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put what was chosen into the pack's file.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PACK.yaml", help="Write the changed pack to another file."),
    ] = None,
    pack: PackOption = None,
    policy: PolicyOption = None,
    config: ConfigOption = None,
    begin: FromOption = None,
    until: UntilOption = None,
    warm_up: WarmUpOption = None,
    mapping: MapOption = None,
    partitions: PartitionsOption = None,
    json: JsonOption = False,
) -> None:
    """Judge a rule with other values of its parameters, all in one pass over a recorded history.

    Shows for every combination what the rule would have done by itself, and what the pack would have done
    with it. With --budget it says which values it would choose, and why. Nothing is written unless --write
    or --out says so. A choice flatters the period it was made on: tune --until a date, backtest --from it.
    """
    from stream_guard.tuning.choice import choose
    from stream_guard.tuning.grid import axis, points
    from stream_guard.tuning.tune import tune as run

    if (write or out) and budget is None:
        raise CommandError("--write and --out write what was chosen: say --budget N.", Exit.USAGE)
    if write and out:
        raise CommandError("--write and --out name two files: give one of them.", Exit.USAGE)
    if out is not None:
        check_target(out)
    settings = settings_of(config)
    axes = [axis(text) for text in param]
    context = context_of(settings, pack, policy, partitions)
    try:
        chosen_rule = context.pack.pack.rule(rule)
    except KeyError as error:
        raise CommandError(f"--rule {rule}: {error.args[0]}.", Exit.USAGE) from None
    grid = points(chosen_rule, axes)
    inputs = inputs_of(settings, history, accounts, mapping, begin=begin, until=until, warm_up=warm_up)
    with progress_bar() as tell:
        tuned = run(inputs, context, chosen_rule, grid, settings.data_dir / "kernels", tell=tell)
    choice = choose(tuned, budget) if budget is not None else None
    file = pack or settings.models.pack
    if json:
        write_json(_document(tuned, choice, budget, inputs.period.as_dict(), context.pack.pack.label))
    else:
        _show(tuned, choice)
    if choice is not None and choice.tried is not None and (write or out):
        _write(file, out or file, rule, choice.tried)
    elif write or out:
        raise CommandError("Nothing was written.")


def _document(
    tuned: Tuned, choice: Choice | None, budget: float | None, period: dict[str, Any], pack: str
) -> dict[str, Any]:
    chosen = None
    if choice is not None:
        chosen = {"values": choice.tried.values if choice.tried else None, "why": choice.why}
    return {
        "rule": tuned.rule.label,
        "pack": pack,
        "period": period,
        "events": tuned.events,
        "judged_events": tuned.judged_events,
        "points": [
            {"values": one.values, "now": one.now, "alone": one.alone, "pack": one.pack}
            for one in tuned.tried
        ],
        "budget": budget,
        "choice": chosen,
    }


def _show(tuned: Tuned, choice: Choice | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    title = f"{tuned.rule.label}, {tuned.judged_events:,} payments in {tuned.days:.1f} days"
    for bar in (BAR, BAR // 2, 0):
        table = Table(
            title=title, title_justify="left", box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False
        )
        for name in (*tuned.tried[0].values, "alone:\na day", "right", "wrong"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("hit rate", "recall"):
            table.add_column(name, no_wrap=True)
        for name in ("pack:\na day", "hit rate", "recall"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        for cells in _rows(tuned, choice, bar):
            table.add_row(*cells)
        needed = console.measure(table, options=console.options.update(width=10 * WIDTH)).maximum
        if needed <= console.width:
            break
    console.print(table)
    if choice is not None:
        console.print(choice.why)
    else:
        console.print("Say --budget N to have values chosen for N warnings a day.")


def _rows(tuned: Tuned, choice: Choice | None, bar: int) -> list[list[str]]:
    """Cells of the table; bars are `bar` characters long where they are longest."""
    from stream_guard.tuning.pack_text import written

    longest = {name: max(one.alone[name] or 0.0 for one in tuned.tried) for name in ("hit_rate", "recall")}
    rows = []
    for one in tuned.tried:
        marks = ["now"] if one.now else []
        if choice is not None and choice.tried is one:
            marks.append("chosen")
        figures, whole = one.alone, one.pack
        rows.append(
            [
                *(written(value) for value in one.values.values()),
                f"{figures['warnings_a_day']:.2f}",
                _count(figures["hits"]),
                _count(figures["false_positives"]),
                *(
                    f"{percent(figures[name]):>6} {_bar(figures[name], top, bar)}".rstrip()
                    for name, top in longest.items()
                ),
                f"{whole['warnings_a_day']:.2f}",
                percent(whole["hit_rate"]),
                percent(whole["recall"]),
                ", ".join(marks),
            ]
        )
    return rows


def _bar(value: float | None, longest: float, length: int = BAR) -> str:
    """A bar in eighths of a character.

    Examples
    --------
    >>> _bar(0.25, 0.5), _bar(0.3, 0.5, 4), _bar(None, 0.5)
    ('█████', '██▍', '')
    """
    eighths = round(8 * length * value / longest) if value and longest else 0
    full, part = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _write(source: Path, target: Path, rule: str, tried: Tried) -> None:
    from stream_guard.tuning.choice import named
    from stream_guard.tuning.pack_text import with_values

    text = source.read_text(encoding="utf-8")
    changed = with_values(text, str(source), {(rule, name): value for name, value in tried.values.items()})
    try:
        target.write_text(changed, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error}.") from error
    what = "as it was" if changed == text else f"with {named(tried.values)}, as the rule's next version"
    say(f"{target} is written, {what}.")
