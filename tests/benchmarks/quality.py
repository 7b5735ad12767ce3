"""How well fitted packs rank the fraud accounts of recorded histories: `make quality DATA=DIR`.

For every history in DIR (a folder with ``transactions.parquet`` and ``accounts.csv.gz`` or ``accounts.csv``):
a pack is fitted on the first 60 %, cold and tuned, and judged on the last 40 %, by the commands of banks.
Prints a table, with targets where there are any for this kind of history. Not a test: people read it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from stream_guard.cli import main as stream_guard
from stream_guard.history import History

Targets = Mapping[str, float]

TARGETS: Final[Mapping[str, Mapping[str, Targets]]] = {
    "amlsim-seed": {"cold": {"hit_at_k": 0.45}, "tuned": {"hit_at_k": 0.75}},
    "amlgentex": {"cold": {"hit_at_50": 0.45}, "tuned": {"hit_at_50": 0.70, "hit_at_k": 0.45}},
    "finforge": {"cold": {"hit_at_k": 0.50}, "tuned": {"hit_at_k": 0.75}},
    "paysim": {"cold": {"hit_at_k": 0.90}, "tuned": {"hit_at_k": 0.95}},
}
"""By the beginning of a folder's name."""
FIGURES: Final = ("hit_at_50", "hit_at_k", "recall_at_2k", "auc")


def histories(data: Path) -> list[tuple[Path, Path]]:
    """Folders with a history and the accounts beside it."""
    found = []
    for history in sorted(data.glob("*/transactions.parquet")):
        for name in ("accounts.csv.gz", "accounts.csv"):
            if (history.parent / name).is_file():
                found.append((history, history.parent / name))
                break
    return found


def run(*arguments: str) -> None:
    """A command as from a shell; what it says is of no interest unless it fails."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = stream_guard(list(arguments))
    if code:
        raise SystemExit(f"stream-guard {' '.join(arguments)} ended with {code}.")


def judge(history: Path, accounts: Path, mode: str, cut: str, folder: Path) -> dict[str, Any]:
    """Fit until `cut`, backtest from there."""
    pack, figures = folder / f"{history.parent.name}.{mode}.yaml", folder / "figures.json"
    files = (str(history), "--accounts", str(accounts))
    run("rules", "fit", *files, "--until", cut, "--out", str(pack), *(["--cold"] * (mode == "cold")))
    run("backtest", *files, "--pack", str(pack), "--from", cut, "--json", str(figures))
    return json.loads(figures.read_text())


def main() -> None:
    """Fit, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cut", default="0.6", help="fit until, judge from: a fraction of the history")
    parser.add_argument("--only", default="", help="histories whose folder's name begins with this")
    parser.add_argument("--packs", type=Path, help="keep the fitted packs here")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    # The histories' own clock, unless somebody says otherwise.
    os.environ.setdefault("STREAM_GUARD_BANK__TIMEZONE", "UTC")
    table = Table("history", "fit", "K", *FIGURES, "warnings a day", "hit rate", "s", "target")
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for history, accounts in histories(options.data):
            name = history.parent.name
            if not name.startswith(options.only):
                continue
            labelled = "is_fraud" in History(history).names
            for mode in ("cold", "tuned") if labelled else ("cold",):
                started = time.perf_counter()
                found = judge(history, accounts, mode, options.cut, options.packs or Path(folder))
                seconds = time.perf_counter() - started
                out[f"{name} {mode}"] = found["accounts"]
                figures = found["accounts"]
                table.add_row(
                    name,
                    mode,
                    str(figures["k"]),
                    *(_text(figures[figure]) for figure in FIGURES),
                    f"{found['warnings_a_day']:,.1f}",
                    _text(found["hit_rate"]),
                    f"{seconds:,.0f}",
                    _verdict(name, mode, figures),
                )
    Console(width=None if os.isatty(1) else 150).print(table)
    if options.json:
        options.json.write_text(json.dumps(out, indent=2) + "\n")


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _verdict(name: str, mode: str, figures: Mapping[str, Any]) -> str:
    targets = next((TARGETS[kind][mode] for kind in TARGETS if name.startswith(kind)), None)
    if targets is None:
        return ""
    return ", ".join(
        f"{figure} >= {least:.2f}: {'reached' if (figures[figure] or 0) >= least else 'NOT reached'}"
        for figure, least in targets.items()
    )


if __name__ == "__main__":
    main()
