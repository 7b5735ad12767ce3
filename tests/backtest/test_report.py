"""The page: nothing is fetched, what comes from data is text, and every figure is the JSON's."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from stream_guard.backtest.report import About, charts, page
from stream_guard.cli import main
from tests.backtest import story

HOSTILE = '</svg><script>alert("A")</script>'
"""Stands for the account A of the story, which is warned."""


class Page(HTMLParser):
    """Elements with their attributes, figures by their place, and all text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if self._open and self._open[-1] == "data":
            attributes = self.elements[-1][1]
            self.figures.append((attributes["data-of"] or "", attributes["value"] or "", data))


def about(**changed: Any) -> About:
    return About(
        **{
            "history": "history.parquet",
            "accounts": "accounts.csv",
            "pack": story.pack().pack,
            "warn_at": 50.0,
            "timezone": "UTC",
            "made": "Made on 2026-11-24.",
            **changed,
        }
    )


def render(folder: Path, **options: Any) -> tuple[str, dict[str, Any]]:
    result = story.tell(folder, keep_picture=True, **options)
    assert result.picture is not None
    return page(result.document, result.picture, about()), result.document


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    def renamed(names: list[str]) -> list[str]:
        return [HOSTILE if name == "A" else name for name in names]

    events = story.EVENTS
    changed = {
        "account": renamed([event[2] for event in events]),
        "counterparty": renamed([event[3] for event in events]),
        "fraud_scenario": ["<b>out</b>/~" if event[6] == "out" else event[6] for event in events],
    }
    accounts = story.ACCOUNTS.replace("\nA,", '\n"' + HOSTILE.replace('"', '""') + '",')
    return render(tmp_path_factory.mktemp("page"), changed=changed, accounts=accounts)


def pointed(document: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        document = document[int(name)] if isinstance(document, list | tuple) else document[name]
    return document


def test_nothing_is_fetched(made: tuple[str, dict[str, Any]]) -> None:
    html, _ = made
    elements = Page(html).elements
    assert not {tag for tag, _ in elements} & {
        "script", "link", "img", "image", "iframe", "object", "embed", "base", "audio", "video", "source",
    }  # fmt: skip
    for tag, attributes in elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("href", "xlink:href", "src", "srcset", "action", "data", "poster"):
                assert (value or "").startswith("#"), (tag, name, value)
            assert "url(" not in (value or "").replace("url(#", "")
    assert "@import" not in html
    assert "url(" not in html.replace("url(#", "")
    # What is left of addresses are the names of SVG.
    assert set(re.findall(r"https?://[^\s\"'<)]+", html)) <= {
        "http://www.w3.org/1999/xlink",
        "http://www.w3.org/2000/svg",
    }


def test_a_browser_is_told_to_fetch_nothing(made: tuple[str, dict[str, Any]]) -> None:
    policies = [a["content"] for tag, a in Page(made[0]).elements if tag == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_what_comes_from_data_is_text(made: tuple[str, dict[str, Any]]) -> None:
    html, _ = made
    assert "<script" not in html
    assert "<b>out" not in html
    read = Page(html).text
    assert HOSTILE in read
    assert "<b>out</b>/~" in read


def test_every_figure_is_that_of_the_json(made: tuple[str, dict[str, Any]]) -> None:
    html, document = made
    # As a program would read it.
    written = json.loads(json.dumps(document))
    figures = Page(html).figures
    assert len(figures) > 60
    for place, value, text in figures:
        expected = pointed(written, place)
        if expected is None:
            assert (value, text) == ("", "–"), place
            continue
        assert float(value) == expected, place
        shown = float(re.sub(r"[,%]", "", text)) / (100 if text.endswith("%") else 1)
        assert shown == pytest.approx(expected, abs=0.5 if float(expected) > 100 else 0.006), place


def test_the_figures_that_a_committee_asks_for_are_there(made: tuple[str, dict[str, Any]]) -> None:
    html, document = made
    places = {place for place, _, _ in Page(html).figures}
    assert places >= {
        "/hit_rate", "/hit_rate_interval/0", "/hit_rate_interval/1", "/warnings", "/warned_accounts",
        "/recall", "/accounts/k", "/accounts/hit_at_50", "/accounts/hit_at_k", "/amount/share",
        "/lead/payments", "/lead/amount",
    }  # fmt: skip
    told = {key for key in document["rules"] if f"/rules/{key}/hit_rate" in places}
    assert told == {"large@1", "second-in@2", "shadowed@1"}
    assert "Fired on no payment of the period: unlike payments seen before (anomaly)." in Page(html).text


def test_the_headline_says_what_happened(made: tuple[str, dict[str, Any]]) -> None:
    text = " ".join(Page(made[0]).text.split())
    assert "66.7% of the warnings would have been right (20.8% to 93.9% with 95 % confidence)" in text
    assert "100.0% of the 2 accounts that were used for fraud, 2 of them before their last" in text
    assert "CNY 4,500 of 5,300 stolen (84.9%) would have been delayed, held or stopped" in text


def test_warnings_are_shown_with_reasons_and_evidence(made: tuple[str, dict[str, Any]]) -> None:
    text = " ".join(Page(made[0]).text.split())
    best, worst = text.split("The best warnings")[1].split("The worst warnings")
    # C, after which 700 went on, before A, after which it were 100.
    assert best.index("1. C") < best.index("700") < best.index(f"2. {HOSTILE}")
    assert "second in (55, as payee): 2 in 24 h." in best
    assert "1. B low, score 60.0; opened 2024-01-03 12:00" in worst
    assert "amount of the payment" in worst
    assert "1,200" in worst


def test_every_chart_is_drawn_with_text_that_can_be_read_out(made: tuple[str, dict[str, Any]]) -> None:
    html, _ = made
    drawn = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawn) == 5
    for svg, words in zip(
        drawn, ("hit rate", "accounts looked at", "hits", "other", "intercepted"), strict=True
    ):
        assert words in svg
        assert "width=" not in svg.split(">", 1)[0]
    ids = [a["id"] for _, a in Page(html).elements if a.get("id")]
    assert len(ids) == len(set(ids))


def test_the_same_points_make_the_same_chart() -> None:
    points = [{"rank": 1, "hits": 1.0}, {"rank": 9, "hits": 2.0}]
    assert charts.by_rank(points, 2, 9) == charts.by_rank(points, 2, 9)


def test_without_labels_the_page_says_what_it_knows(tmp_path: Path) -> None:
    html, _ = render(tmp_path, accounts=None, changed={"is_fraud": None, "fraud_scenario": None})
    text = " ".join(Page(html).text.split())
    assert "5 warnings would have been opened. The history does not say which would have been right." in text
    assert "The best warnings" not in text
    assert html.count("<svg") == 1  # warnings over time


def test_without_a_warning_there_is_still_a_page(tmp_path: Path) -> None:
    html, _ = render(tmp_path, begin="2024-01-03T19:00:00Z", until="2024-01-04")
    assert "No warning would have been opened." in Page(html).text


def test_the_command_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GUARD_BANK__TIMEZONE", "UTC")
    monkeypatch.setenv("STREAM_GUARD_DATA_DIR", str(Path(__file__).parents[2] / ".cache" / "backtest"))
    history, accounts = story.write(tmp_path)
    pack, out = tmp_path / "pack.yaml", tmp_path / "deep" / "report"
    pack.write_text(story.PACK, encoding="utf-8")
    line = [
        "backtest",
        str(history),
        "--accounts",
        str(accounts),
        "--pack",
        str(pack),
        "--from",
        "2024-01-02",
    ]
    assert main([*line, "--report", str(out), "--json", str(out / "figures.json")]) == 0
    figures = json.loads((out / "figures.json").read_text())
    for place, value, _ in Page((out / "index.html").read_text(encoding="utf-8")).figures:
        assert value == "" or float(value) == pointed(figures, place)
