"""What an engine would run, checked without one: image, compose files, manifests, scripts."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from stream_guard.settings import load_settings
from stream_guard.streaming.access import ROLES
from tests.kafka.secure import SECURE

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
TOOLS = Path(sys.executable).parent
MANIFESTS = sorted((DOCKER / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.33"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the tool is locked for Linux")

ONE_SHOT = {"topics", "secrets", "access", "bank"}


@cache
def composed(*files: str) -> dict[str, Any]:
    """What compose makes of the files, by its own hand: a file that its schema refuses fails here."""
    command: list[str | Path] = [TOOLS / "docker-compose", "--profile", "bank"]
    for file in files:
        command += ["-f", DOCKER / file]
    result = subprocess.run([*command, "config", "--format", "json"], check=False, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    assert result.stderr == b""
    return json.loads(result.stdout)


STACKS = [("compose.yaml",), ("compose.yaml", "compose.secure.yaml")]
stacks = pytest.mark.parametrize("files", STACKS, ids=["plain", "secure"])


@linux_only
@stacks
def test_nothing_listens_beyond_this_machine(files: tuple[str, ...]) -> None:
    for name, service in composed(*files)["services"].items():
        for port in service.get("ports", ()):
            assert port["host_ip"] == "127.0.0.1", name


@linux_only
@stacks
def test_every_service_is_bounded_confined_and_restarted(files: tuple[str, ...]) -> None:
    for name, service in composed(*files)["services"].items():
        assert int(service["mem_limit"]) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only") or name == "kafka", name
        if name not in ONE_SHOT:
            assert service["restart"] == "unless-stopped", name
            assert service["cpus"] > 0, name


@linux_only
@stacks
def test_no_password_is_written_down(files: tuple[str, ...]) -> None:
    for name, service in composed(*files)["services"].items():
        for variable in service.get("environment") or {}:
            assert "PASSWORD" not in variable or variable.endswith("_FILE"), (name, variable)


@linux_only
@stacks
def test_the_settings_of_every_stream_guard_service_can_be_used(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    subprocess.run(
        [SECURE / "secrets", "kafka"],
        check=True,
        env={**os.environ, "SECRETS": str(tmp_path), "READERS": f"{os.getuid()}:{os.getgid()}"},
    )
    seen = set()
    for service in composed(*files)["services"].values():
        if service.get("image") != "stream-guard:latest":
            continue
        environment = {
            variable: value.replace("/secrets/", f"{tmp_path}/")
            for variable, value in (service.get("environment") or {}).items()
            if variable.startswith("STREAM_GUARD_")
        }
        if not environment:  # makes the secrets, and asks no broker
            continue
        settings = load_settings(ROOT / "configs" / "production.yaml", environment)
        assert settings.broker[0].startswith("kafka:")
        seen.add(settings.instance_id)
    assert {"worker-0", "worker-1"} <= seen


@linux_only
def test_prometheus_finds_the_workers_and_grafana_its_files() -> None:
    services = composed("compose.yaml")["services"]
    scraped = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (job,) = [config for config in scraped if config["job_name"] == "stream-guard"]
    targets = {target for config in job["static_configs"] for target in config["targets"]}
    assert targets == {f"{name}:9464" for name in services if name.startswith("worker-")}
    for name in ("prometheus", "alertmanager", "grafana"):
        for volume in services[name]["volumes"]:
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume


@linux_only
def test_the_image_passes_the_linter() -> None:
    result = subprocess.run(
        [TOOLS / "hadolint", DOCKER / "Dockerfile"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_the_image_runs_as_nobody_in_particular_with_a_health_check_and_locked_packages() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    build, run = text.split("\nFROM ")[-2:]
    assert "--require-hashes" in build
    assert "stream-guard compile" in build
    assert "USER 10001:10001" in run
    assert "HEALTHCHECK" in run
    assert "/healthz" in run
    for line in text.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)
def test_manifests_follow_the_published_schemas(file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text()))
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_manifest_with_a_wrong_field_is_refused() -> None:
    (document,) = yaml.safe_load_all((DOCKER / "kubernetes" / "autoscaling.yaml").read_text())
    document["spec"]["maxReplica"] = document["spec"].pop("maxReplicas")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def manifest(kind: str) -> Any:
    """The one document of a kind."""
    every = [document for file in MANIFESTS for document in yaml.safe_load_all(file.read_text())]
    (found,) = [document for document in every if document["kind"] == kind]
    return found


def test_workers_on_kubernetes_have_stable_names_probes_and_a_budget(tmp_path: Path) -> None:
    pod = manifest("StatefulSet")["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    names = {entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in worker["env"]}
    assert names == {"STREAM_GUARD_INSTANCE_ID": "metadata.name"}
    assert worker["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert worker["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    labels = manifest("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for kind in ("PodDisruptionBudget", "NetworkPolicy"):
        spec = manifest(kind)["spec"]
        assert (spec.get("selector") or spec["podSelector"])["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    for file in ("password", "ca.pem"):
        (tmp_path / file).write_text("x")
    subprocess.run([SECURE / "certificates", tmp_path / "made", "kafka"], check=True)
    environment = {
        name: value.replace("/secrets/ca.pem", f"{tmp_path}/made/ca.pem").replace("/secrets", str(tmp_path))
        for name, value in manifest("ConfigMap")["data"].items()
    }
    assert load_settings(ROOT / "configs" / "production.yaml", environment).security.username == "worker"


@pytest.mark.parametrize(
    "script",
    [
        DOCKER / "entrypoint",
        DOCKER / "grafana" / "first-start",
        SECURE / "certificates",
        SECURE / "secrets",
        SECURE / "access",
    ],
    ids=lambda script: script.name,
)
def test_scripts_are_sound_and_may_be_run(script: Path) -> None:
    subprocess.run(["sh", "-n", script], check=True)
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().startswith("#!/bin/sh\n")


def test_grafanas_password_is_made_once_and_differs(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        file = tmp_path / name
        script = (DOCKER / "grafana" / "first-start").read_text().replace("exec /run.sh", "")
        for _ in range(2):
            subprocess.run(
                ["sh", "-c", script],
                check=True,
                env={**os.environ, "GF_SECURITY_ADMIN_PASSWORD__FILE": str(file)},
            )
            found.append(file.read_text())
        assert file.stat().st_mode & 0o077 == 0
    assert found[0] == found[1] != found[2]
    assert len(found[0]) == 32


def test_the_secured_stack_knows_every_role() -> None:
    for script in ("secrets", "access"):
        (line,) = [
            line for line in (SECURE / script).read_text().splitlines() if line.startswith("for role in")
        ]
        named = set(line.removeprefix("for role in ").removesuffix("; do").split())
        assert named - {"simulation"} == set(ROLES)
    # Whoever redrives is granted that for as long as it takes.
    assert '[ "$role" = redrive ] ||' in (SECURE / "access").read_text()
