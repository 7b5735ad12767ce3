"""Model files, and the workers' own servers."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from stream_guard.detection.anomaly_settings import load_anomaly
from stream_guard.detection.documents import DocumentError
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import PackError, check_file
from stream_guard.doctor.findings import Finding, Verdict, error, ok, warning
from stream_guard.settings import Settings

ANSWER_S = 5.0

_IN_FORCE = re.compile(r'^stream_guard_build_info\{.*?\bpack_hash="(?P<hash>[^"]*)"', re.MULTILINE)


def models(settings: Settings) -> Iterator[Finding]:
    """Whether the rule pack, the policy and the anomaly model can be used."""
    try:
        pack = check_file(settings.models.pack)
        policy_text, policy_source = settings.models.read("policy")
        load_policy(policy_text, policy_source, **settings.policy.overrides)
        anomaly_text, anomaly_source = settings.models.read("anomaly")
        load_anomaly(anomaly_text, anomaly_source)
    except (PackError, DocumentError, OSError) as refusal:
        yield error("models", f"{refusal} A worker refuses to start on it: mend the file.")
    else:
        yield ok("models", f"{pack.label}, hash {pack.hash[:12]}; policy and anomaly model can be used")
    for caution in settings.cautions():
        yield warning("settings", f"{caution}.")


def workers(settings: Settings, urls: Sequence[str]) -> Iterator[Finding]:
    """Whether the workers' servers answer, call themselves healthy and ready, and use this rule pack."""
    host = "127.0.0.1" if settings.http.host in ("0.0.0.0", "::") else settings.http.host  # noqa: S104
    for url in urls or [f"http://{host}:{settings.http.port}"]:
        if not urls and not settings.http.port:
            yield ok("worker", "http.port is 0: name a worker's address with --url to look at it")
            continue
        yield from _worker(url.rstrip("/"), settings, Verdict.ERROR if urls else Verdict.WARNING)


def _worker(url: str, settings: Settings, silent: Verdict) -> Iterator[Finding]:
    status, metrics = _get(f"{url}/metrics")
    if status != 200:
        yield Finding(
            "worker",
            silent,
            f"{url}/metrics does not answer ({metrics.strip() or status}): start the worker there, or name"
            " where it runs with --url.",
        )
        return
    for page, harm in (("healthz", "it is stuck: restart it"), ("readyz", "wait, or look at its log")):
        status, said = _get(f"{url}/{page}")
        if status != 200:
            yield error("worker", f"{url}/{page} answers {status}, {said.strip()}: {harm}.")
    in_force = _IN_FORCE.search(metrics)
    try:
        ours = check_file(settings.models.pack).hash
    except (PackError, OSError):
        return
    if in_force is None:
        yield error("worker", f"{url}/metrics is no worker's: name its address with --url.")
    elif not ours.startswith(in_force["hash"]):
        yield error(
            "worker",
            f"{url} decides by pack {in_force['hash']} and these settings name {ours[:12]}: workers with"
            " different packs decide differently; restart those with the old one.",
        )
    else:
        yield ok("worker", f"{url} answers and decides by pack {in_force['hash']}")


def _get(url: str) -> tuple[int, str]:
    """Status and body; status 0 and the cause where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as response:  # noqa: S310
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode(errors="replace")
    except (OSError, http.client.HTTPException, ValueError) as cause:
        return 0, str(getattr(cause, "reason", cause))
