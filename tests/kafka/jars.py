"""Java and the jars of Apache Kafka: found, or fetched once, or one sentence about what is missing."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

KAFKA_VERSION = "4.3.1"
OLDEST_JAVA = 17
"""Kafka 4 brokers run on Java 17 or newer."""

EXISTING = "STREAM_GUARD_TEST_BROKER=host:port"


class Unavailable(Exception):
    """No broker can be had here; the message is one sentence that says what to install."""


def java() -> str:
    """Path of a Java that runs the broker, installed from Debian's packages where that is possible."""
    version = _java_version()
    if version is None and _install("default-jre-headless"):
        version = _java_version()
    if version is None or version < OLDEST_JAVA:
        found = "none was found" if version is None else f"Java {version} was found"
        raise Unavailable(
            f"The Kafka tests need Java {OLDEST_JAVA} or newer and {found}: install it (Debian, Ubuntu:"
            f" apt-get install default-jre-headless) or name a running broker in {EXISTING}."
        )
    return "java"


def jars() -> Path:
    """Folder with the broker's jars, fetched by Maven the first time and kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stream-guard"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"kafka-{KAFKA_VERSION}"
    with (cache / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    if shutil.which("mvn") is None:
        _install("maven")
    if shutil.which("mvn") is None:
        raise Unavailable(
            "The Kafka tests fetch Apache Kafka's jars once with Maven and it is missing: install it (Debian,"
            f" Ubuntu: apt-get install maven) or name a running broker in {EXISTING}."
        )
    partial = Path(tempfile.mkdtemp(prefix="kafka-", dir=folder.parent))
    command = ["mvn", "-q", "-B", "-f", str(Path(__file__).with_name("pom.xml"))]
    command += ["dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    if result.returncode or not any(partial.glob("kafka_*.jar")):
        shutil.rmtree(partial)
        said = (result.stdout + result.stderr).strip().splitlines()
        raise Unavailable(
            f"Maven could not fetch Apache Kafka {KAFKA_VERSION} ({said[0] if said else 'it said nothing'}):"
            f" make Maven Central or a mirror reachable, or name a running broker in {EXISTING}."
        )
    partial.chmod(0o755)
    partial.rename(folder)  # whole or not at all: an interrupted fetch leaves no half folder behind


def _java_version() -> int | None:
    if shutil.which("java") is None:
        return None
    said = subprocess.run(["java", "-version"], check=False, capture_output=True, text=True).stderr
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else None


def _install(package: str) -> bool:
    """Install a Debian package where this process may; no failure of it hides the sentence that follows."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return all(
        subprocess.run(command, check=False, capture_output=True, env=environment).returncode == 0
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package])
    )
