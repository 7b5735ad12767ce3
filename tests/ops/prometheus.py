"""A real Prometheus and a real Alertmanager for the tests: on loopback, on free ports, gone at the end."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import yaml

from tests.kafka.broker import free_port
from tests.kafka.processes import Child
from tests.ops.packages import folder as unpacked
from tests.ops.packages import program
from tests.ops.rules import PROMETHEUS, RULES

START_S = 60.0


class Sample(NamedTuple):
    """One series at one time, or over some."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def value(self) -> float:
        """The last value."""
        return self.points[-1][1]


class Refused(Exception):
    """The server does not understand what it was asked."""


class Server:
    """A child process with an HTTP server on loopback."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.started_in = folder
        self._child: Child | None = None

    def command(self) -> list[str]:
        """Program and arguments."""
        raise NotImplementedError

    def start(self) -> None:
        """Start and wait until it is ready."""
        log = self.folder / "server.log"
        self._child = child = Child(self.command(), log=log, folder=self.started_in)
        deadline = time.monotonic() + START_S
        while not self._answers():
            if child.returncode is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{self.command()[0]} did not start:\n{child.tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Answer of its API as JSON."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.read().decode()) from None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Prometheus(Server):
    """Runs docker/prometheus/prometheus.yml, with other targets and a shorter interval.

    Parameters
    ----------
    folder
        For its configuration and its data, which a second one on the same folder finds again.
    targets
        host:port of workers.
    rules
        Folder of rule files.
    interval_s
        Of scraping and evaluating.
    alertmanager
        host:port; none where absent.
    """

    def __init__(
        self,
        folder: Path,
        targets: Sequence[str] = (),
        *,
        rules: Path = RULES,
        interval_s: int = 1,
        alertmanager: str | None = None,
    ) -> None:
        super().__init__(folder)
        self.data = folder / "data"
        config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{interval_s}s")
        config["rule_files"] = [str(rules / "*.yml")]
        managers = [alertmanager] if alertmanager else []
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": managers}]}]
        self._targets = folder / "targets.json"
        self.watch(targets)
        (job,) = config["scrape_configs"]
        del job["static_configs"]
        job["file_sd_configs"] = [{"files": [str(self._targets)], "refresh_interval": "1s"}]
        self._config = folder / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(config), encoding="utf-8")

    def watch(self, targets: Sequence[str]) -> None:
        """Scrape these from now on."""
        partial = self._targets.with_suffix(".new")
        partial.write_text(json.dumps([{"targets": list(targets)}]), encoding="utf-8")
        partial.replace(self._targets)

    def command(self) -> list[str]:
        """Program and arguments."""
        return [
            program("prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.data}",
            "--storage.tsdb.retention.time=90d",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """Series of an instant query. Raises `Refused` where it does not parse."""
        chosen = {} if at is None else {"time": at}
        data = self.ask("/api/v1/query", query=expression, **chosen)["data"]
        if data["resultType"] == "scalar":
            return [Sample({}, [_point(data["result"])])]
        return [Sample(one["metric"], [_point(one["value"])]) for one in data["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Sample]:
        """Series over a time."""
        found = self.ask("/api/v1/query_range", query=expression, start=start, end=end, step=step)
        return [Sample(one["metric"], [*map(_point, one["values"])]) for one in found["data"]["result"]]

    def firing(self) -> dict[str, Mapping[str, Any]]:
        """Alerts that fire, by name (one of each)."""
        found = self.ask("/api/v1/alerts")["data"]["alerts"]
        return {one["labels"]["alertname"]: one for one in found if one["state"] == "firing"}

    def failed_rules(self) -> list[str]:
        """Rules whose last evaluation failed, with the error."""
        groups = self.ask("/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule.get("lastError")]


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


class Alertmanager(Server):
    """Runs docker/alertmanager/alertmanager.yml, with its webhooks led to `webhook`.

    Parameters
    ----------
    webhook
        Address in place of the example's; the receiver's name stays its path.
    """

    def __init__(self, folder: Path, webhook: str) -> None:
        super().__init__(folder)
        self.started_in = unpacked()
        example = PROMETHEUS.parent / "alertmanager" / "alertmanager.yml"
        text = example.read_text(encoding="utf-8").replace("http://127.0.0.1:9095", webhook)
        self._config = folder / "alertmanager.yml"
        self._config.write_text(text.replace("group_wait: 10s", "group_wait: 1s"), encoding="utf-8")

    def command(self) -> list[str]:
        """Program and arguments."""
        return [
            program("prometheus-alertmanager"),
            f"--config.file={self._config}",
            f"--storage.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool; what it said is in `stdout` and `stderr`."""
    return subprocess.run(
        [program("promtool"), *map(str, arguments)], check=False, capture_output=True, text=True
    )


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run amtool."""
    return subprocess.run(
        [program("amtool"), *map(str, arguments)], check=False, capture_output=True, text=True
    )
