"""Writes the dashboards (``python docker/grafana/generator``), or says whether they are current (``--check``)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import fraud_desk
import rule_models
import service_health
from grafana_foundation_sdk.cog.encoder import JSONEncoder

FOLDER = Path(__file__).parents[1] / "dashboards"
PAGES = {"fraud-desk": fraud_desk, "service-health": service_health, "models": rule_models}


def main() -> int:
    """Write the files, or compare them with what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where a file is not current"
    )
    check: bool = parser.parse_args().check
    stale = []
    for name, module in PAGES.items():
        path = FOLDER / f"{name}.json"
        page = module.build().build()
        for number, panel in enumerate(page.panels, 1):
            panel.id_val = number
        text = JSONEncoder(sort_keys=True, indent=1).encode(page) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(stale)} is not what the generator makes: run 'make dashboards'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
