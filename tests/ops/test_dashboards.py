"""The dashboards: current, and fit to be read by people who do not look at code."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.kafka.harness import ROOT
from tests.ops.expressions import pages, panels
from tests.ops.previews import FOLDER, SHOWN

GRAFANA = ROOT / "docker" / "grafana"
PANELS = [(name, panel) for name, page in pages().items() for panel in panels(page)]
UNITS = {"short", "s", "cps", "percentunit", "bytes", "currency:CNY "}


def test_the_committed_files_are_what_the_generator_makes() -> None:
    command = [sys.executable, str(GRAFANA / "generator"), "--check"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_there_are_three_and_each_has_a_name_of_its_own() -> None:
    titles = {name: page["title"] for name, page in pages().items()}
    assert titles == {"fraud-desk": "Fraud desk", "service-health": "Service health", "models": "Models"}
    assert len({page["uid"] for page in pages().values()}) == 3


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{name}-{panel['id']}" for name, panel in PANELS])
def test_every_panel_has_a_title_a_unit_a_description_and_the_chosen_source(
    name: str, panel: dict[str, Any]
) -> None:
    assert panel["title"][0].isupper()
    assert len(panel["description"]) > 5
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["targets"]


def test_no_title_stands_twice_and_no_two_panels_overlap() -> None:
    for page in pages().values():
        shown = page["panels"]
        assert len({panel["title"] for panel in shown}) == len(shown)
        assert len({panel["id"] for panel in shown}) == len(shown)
        cells = [
            (x, y)
            for panel in shown
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24


def test_the_readme_shows_a_picture_of_each_and_its_panels_are_still_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(SHOWN) == set(pages())
    for name, page in pages().items():
        assert set(SHOWN[name]) <= {panel["title"] for panel in panels(page)}
        path = FOLDER / f"{name}.png"
        assert path.stat().st_size < 200_000
        assert f"({path.relative_to(ROOT)})" in readme


def test_grafana_is_provisioned_with_the_source_and_the_folder() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    scrape = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())["global"][
        "scrape_interval"
    ]
    assert source["jsonData"]["timeInterval"] == scrape
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/stream-guard.yml").read_text())[
        "providers"
    ]
    assert provider["type"] == "file"
