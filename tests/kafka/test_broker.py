from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kafka import jars
from tests.kafka.broker import answers, free_port
from tests.kafka.harness import ROOT, running_kafka
from tests.kafka.jars import Unavailable
from tests.kafka.processes import Child

SENTENCE = r"^The Kafka tests .*: install it .*apt-get install .* or name a running broker in STREAM_GUARD"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache, and no program but those put into the folder returned."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return programs


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_java_one_sentence_says_what_to_install(bare: Path) -> None:
    with pytest.raises(Unavailable, match=SENTENCE):
        jars.java()


def test_a_java_that_is_too_old_is_named(bare: Path) -> None:
    program(bare, "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(Unavailable, match="Java 11 was found"):
        jars.java()


def test_without_maven_one_sentence_says_what_to_install(bare: Path) -> None:
    with pytest.raises(Unavailable, match=SENTENCE.replace("Kafka tests .*", "Kafka tests fetch .*")):
        jars.jars()


def test_a_fetch_that_fails_leaves_no_half_folder(bare: Path, tmp_path: Path) -> None:
    program(bare, "mvn", "echo '[ERROR] no network' ; exit 1")
    with pytest.raises(Unavailable, match=r"could not fetch Apache Kafka .*no network"):
        jars.jars()
    assert [path.name for path in (tmp_path / "cache" / "stream-guard").iterdir()] == ["fetch.lock"]


def test_jars_are_fetched_once(bare: Path) -> None:
    program(
        bare,
        "mvn",
        'for a in "$@"; do case $a in -DoutputDirectory=*) : > "${a#*=}/kafka_2.13.jar";; esac; done',
    )
    folder = jars.jars()
    (bare / "mvn").unlink()
    assert jars.jars() == folder


def test_a_broker_that_is_named_and_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GUARD_TEST_BROKER", f"127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match=r"No Kafka broker answers on 127"), running_kafka():
        pass


def test_kafka_tests_fail_and_never_skip_where_no_broker_can_be_had(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment.pop("STREAM_GUARD_TEST_BROKER", None)
    test = "tests/kafka/test_topics.py::test_create_again_changes_nothing"
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "The Kafka tests need Java 17 or newer and none was found: install it" in result.stdout
    assert "1 error" in result.stdout
    assert "skipped" not in result.stdout


def test_a_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib\n"
        "from tests.kafka.processes import Child\n"
        "child = Child(['sleep', '60'], log=pathlib.Path(sys.argv[1]), folder=pathlib.Path('/'))\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    pid = int(result.stdout)
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline, "the child still runs"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_broker_keeps_its_data_over_a_kill() -> None:
    if os.environ.get("STREAM_GUARD_TEST_BROKER"):
        pytest.skip("the broker that was named is not ours to kill")
    with running_kafka() as kafka:
        assert kafka.broker is not None
        kafka.topic("kept")
        kafka.send("kept", [("k", b"v")])
        kafka.broker.restart()
        assert answers(kafka.bootstrap)
        assert [record.value() for record in kafka.read("kept", at_least=1)] == [b"v"]


def test_a_child_that_ends_by_itself_gives_its_exit_code(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "echo last words; exit 7"], log=tmp_path / "log", folder=tmp_path)
    assert child.wait(10) == 7
    assert child.tail() == "last words"
    assert child.end() == 7
