"""Prometheus and Alertmanager out of Debian's packages: unpacked into the user's cache, never installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = ("prometheus", "prometheus-alertmanager")


class Unavailable(Exception):
    """Neither is to be had here; the message is one sentence that says what to do."""


def program(name: str) -> str:
    """Path of ``prometheus``, ``promtool``, ``prometheus-alertmanager`` or ``amtool``."""
    return str(folder() / "usr" / "bin" / name)


def folder() -> Path:
    """Where the packages are unpacked; fetched with apt-get the first time and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stream-guard"
    cache.mkdir(parents=True, exist_ok=True)
    unpacked = cache / "prometheus"
    with (cache / "prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.exists():
            _fetch(unpacked)
    return unpacked


def _fetch(unpacked: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Unavailable(
            "The tests of dashboards and alerts unpack Debian's packages prometheus and"
            " prometheus-alertmanager, and there is no apt-get here: run them on Debian or Ubuntu."
        )
    partial = Path(tempfile.mkdtemp(prefix="prometheus-", dir=unpacked.parent))
    download = ["apt-get", "download", "-qq", *PACKAGES]
    said = _run(download, partial)
    if said is not None and os.geteuid() == 0:
        _run(["apt-get", "update", "-qq"], partial)
        said = _run(download, partial)
    if said is not None:
        shutil.rmtree(partial)
        raise Unavailable(
            f"apt-get could not download {' and '.join(PACKAGES)} ({said}): make a Debian mirror reachable,"
            " or run 'apt-get update' first."
        )
    for package in partial.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package.name, "."], check=True, cwd=partial, capture_output=True)
        package.unlink()
    _look_here(partial / "usr" / "bin" / "prometheus-alertmanager")
    partial.chmod(0o755)
    partial.rename(unpacked)  # whole or not at all


def _look_here(alertmanager: Path) -> None:
    """Have it find its templates from the folder it is started in: Debian's looks for them in /usr/share."""
    installed, here = b"/usr/share/prometheus/alertmanager", b"usr/share/prometheus/alertmanager/"
    alertmanager.write_bytes(alertmanager.read_bytes().replace(installed, here))


def _run(command: list[str], where: Path) -> str | None:
    """Last line of what a failed command said; None where it went well."""
    result = subprocess.run(command, check=False, cwd=where, capture_output=True, text=True)
    lines = (result.stdout + result.stderr).strip().splitlines()
    return (lines[-1] if lines else "it said nothing") if result.returncode else None
