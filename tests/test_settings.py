"""One YAML file and the environment: what wins, what is refused, and what is never shown."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stream_guard.detection.policy import load_policy
from stream_guard.detection.vocabulary import Action
from stream_guard.settings import Settings, SettingsError, environment_names, load_settings
from stream_guard.settings.sections import WorkerPolicy

CONFIGS = Path(__file__).parents[1] / "configs"


def from_yaml(folder: Path, text: str, **variables: str) -> Settings:
    file = folder / "worker.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, {f"STREAM_GUARD_{name}": value for name, value in variables.items()})


def from_environment(**variables: str) -> Settings:
    return load_settings(None, {f"STREAM_GUARD_{name}": value for name, value in variables.items()})


def problems(folder: Path, text: str = "app_id: a", **variables: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        from_yaml(folder, text, **variables)
    assert str(refused.value).splitlines() == list(refused.value.problems)
    return [problem.replace(f"{folder}/", "") for problem in refused.value.problems]


# ---- defaults and the shipped files ----


def test_defaults_are_those_of_the_contract() -> None:
    settings = load_settings(None, {})
    assert settings.topics.names == {
        "transactions": "transactions",
        "account_updates": "account-updates",
        "dispositions": "dispositions",
        "risk_signals": "risk-signals",
        "legs": "stream-guard-legs",
        "cases": "stream-guard-cases",
        "sightings": "stream-guard-sightings",
        "decisions": "decisions",
        "alerts": "alerts",
        "dead_letters": "dead-letters",
        "state": "stream-guard.state",
    }
    assert settings.retention.internal == timedelta(days=7)
    assert (settings.bank.base_currency, settings.bank.timezone) == ("CNY", "Asia/Shanghai")
    assert settings.bank.future_ms == 5 * 60 * 1000
    assert settings.parties.not_accounts == ("EXT_*",)
    assert (settings.decisions.emit, settings.decisions.features) == ("interceptions", False)
    policy = settings.policy
    assert (policy.warn_at, policy.deadline_ms, policy.on_late) == (50, 1000, Action.ALLOW)
    assert policy.warning_ttl == timedelta(days=30)
    assert policy.fallback_action is Action.CONFIRM
    assert settings.http.host == "127.0.0.1"
    assert (settings.state.backend, settings.state.flush_interval_s, settings.state.lease_s) == (
        "kafka",
        1,
        10,
    )
    assert (settings.consumer.session_timeout_s, settings.consumer.heartbeat_s) == (10, 3)


def test_production_yaml_runs_as_shipped_on_one_plaintext_loopback_broker() -> None:
    settings = load_settings(CONFIGS / "production.yaml", {})
    assert settings.broker == ("127.0.0.1:9092",)
    assert settings.security.protocol == "PLAINTEXT"
    assert settings.cautions() == []
    assert settings.models.pack == CONFIGS / "../models/bank-core.yaml"
    values = settings.model_dump(exclude={"data_dir", "models"})
    assert values == load_settings(None, {}).model_dump(exclude={"data_dir", "models"})


def test_production_yaml_explains_every_setting() -> None:
    text = (CONFIGS / "production.yaml").read_text(encoding="utf-8")
    for variable in environment_names():
        *_, name = variable.removeprefix("STREAM_GUARD_").split("__")
        assert re.search(rf"^[# ]*{name.lower()}:", text, re.MULTILINE) or variable in text, variable


def test_the_examples_in_the_comments_of_production_yaml_are_settings(tmp_path: Path) -> None:
    text = (
        (CONFIGS / "production.yaml")
        .read_text(encoding="utf-8")
        .replace("../models", str(CONFIGS.parent / "models"))
    )
    text = re.sub(r"^# (instance_id|partitions): ", r"\1: ", text, flags=re.MULTILINE)
    text = re.sub(r"^( +)# {3}(\w+: )", r"\1\2", text, flags=re.MULTILINE)
    for name in ("ca.pem", "client.pem", "client.key"):
        text = text.replace(f"/etc/stream-guard/{name}", str(tmp_path / name))
    text = text.replace("/run/secrets/kafka-password", str(tmp_path / "secret")).replace("rates: {}", "")
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert all("there is no file" in problem for problem in found)


def test_demo_yaml_is_the_same_worker_without_transactions() -> None:
    settings = load_settings(CONFIGS / "demo.yaml", {"STREAM_GUARD_BROKER": "127.0.0.1:40000"})
    assert (settings.state.backend, settings.decisions.emit) == ("memory", "all")
    assert settings.cautions() == [
        "state.backend is memory: profiles and open warnings end with this process"
    ]


# ---- the environment ----


@pytest.mark.parametrize(
    ("variable", "text", "place", "value"),
    [
        ("BROKER", "kafka://a:1, b:2;[::1]:3", "broker", ("a:1", "b:2", "[::1]:3")),
        ("APP_ID", "bank-a", "app_id", "bank-a"),
        ("INSTANCE_ID", "worker_1", "instance_id", "worker_1"),
        ("DATA_DIR", "/var/lib/x", "data_dir", Path("/var/lib/x")),
        ("PARTITIONS", "12", "partitions", 12),
        ("HTTP__PORT", "0", "http.port", 0),
        ("HTTP__HOST", "::1", "http.host", "::1"),
        ("TOPICS__TRANSACTIONS", "payments", "topics.transactions", "payments"),
        ("TOPICS__LEGS", "{app_id}.l", "topics.legs", "stream-guard.l"),
        ("DECISIONS__EMIT", "all", "decisions.emit", "all"),
        ("DECISIONS__FEATURES", "true", "decisions.features", True),
        ("POLICY__DEADLINE_MS", "0", "policy.deadline_ms", 0),
        ("POLICY__ON_LATE", "hold", "policy.on_late", Action.HOLD),
        ("POLICY__WARNING_TTL", "90", "policy.warning_ttl", timedelta(seconds=90)),
        ("POLICY__WARNING_TTL", "12h", "policy.warning_ttl", timedelta(hours=12)),
        ("POLICY__FALLBACK_ACTION", "hold", "policy.fallback_action", Action.HOLD),
        ("BANK__TIMEZONE", "UTC", "bank.timezone", "UTC"),
        ("BANK__LIMITS", "100,2e3", "bank.limits", (100.0, 2000.0)),
        ("BANK__RATES", '{"USD": 7.1}', "bank.rates", {"USD": 7.1}),
        ("BANK__RATES__USD", "7.1", "bank.rates", {"USD": 7.1}),
        ("PARTIES__NOT_ACCOUNTS", "EXT_*,TILL-*", "parties.not_accounts", ("EXT_*", "TILL-*")),
        ("STATE__FLUSH_INTERVAL_S", "0.5", "state.flush_interval_s", 0.5),
        ("RETENTION__INTERNAL", "3d", "retention.internal", timedelta(days=3)),
        ("LOG__FORMAT", "json", "log.format", "json"),
    ],
)
def test_every_setting_can_be_overridden_by_the_environment(
    variable: str, text: str, place: str, value: object
) -> None:
    found: Any = from_environment(**{variable: text})
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value


def test_the_environment_beats_the_file_setting_by_setting(tmp_path: Path) -> None:
    text = "http: {host: 127.0.0.2, port: 1000}\nbroker: [a:1, b:2]\nbank: {rates: {USD: 7, EUR: 8}}"
    settings = from_yaml(tmp_path, text, HTTP__PORT="2000", BROKER="c:3", BANK__RATES__USD="6")
    assert (settings.http.host, settings.http.port) == ("127.0.0.2", 2000)
    assert settings.broker == ("c:3",)
    assert settings.bank.rates == {"USD": 6.0, "EUR": 8.0}


def test_the_process_environment_counts_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GUARD_HTTP__PORT", "0")
    assert load_settings().http.port == 0
    assert load_settings(None, {}).http.port == 9464
    assert Settings().http.port == 9464


def test_empty_variables_foreign_ones_and_those_of_the_tests_are_ignored() -> None:
    settings = load_settings(
        None,
        {
            "STREAM_GUARD_APP_ID": "",
            "STREAM_GUARD_TEST_BROKER": "x:1",
            "STREAM_GUARDIAN": "1",
            "PATH": "/bin",
        },
    )
    assert settings == load_settings(None, {})


def test_internal_topics_follow_the_application_id(tmp_path: Path) -> None:
    topics = from_yaml(tmp_path, "app_id: a\ntopics: {cases: 'x-{app_id}'}", APP_ID="b").topics
    assert (topics.legs, topics.cases, topics.state) == ("b-legs", "x-b", "b.state")


def test_relative_paths_mean_the_files_folder_or_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    for folder in (tmp_path, other):
        (folder / "pack.yaml").write_text("x", encoding="utf-8")
    monkeypatch.chdir(other)
    assert from_yaml(tmp_path, "data_dir: d\nmodels: {pack: pack.yaml}").models.pack == tmp_path / "pack.yaml"
    assert from_yaml(tmp_path, "data_dir: d").data_dir == tmp_path / "d"
    assert from_yaml(tmp_path, "data_dir: d", MODELS__PACK="pack.yaml").models.pack == other / "pack.yaml"
    assert from_environment(DATA_DIR="d").data_dir == other / "d"


# ---- what is refused ----


def test_unknown_names_are_errors_with_the_nearest_name(tmp_path: Path) -> None:
    found = problems(tmp_path, "http: {prot: 1}\nhtpp: {port: 1}\nzebra: 1", BROKR="a:1", HTTP__PROT="1")
    assert sorted(found) == [
        "STREAM_GUARD_BROKR: there is no such setting; did you mean STREAM_GUARD_BROKER?",
        "STREAM_GUARD_HTTP__PROT: there is no such setting; did you mean STREAM_GUARD_HTTP__PORT?",
        "worker.yaml: htpp: there is no such setting; did you mean http?",
        "worker.yaml: http.prot: there is no such setting; did you mean http.port?",
        "worker.yaml: zebra: there is no such setting",
    ]


@pytest.mark.parametrize("name", environment_names())
def test_a_setting_below_a_setting_is_unknown(name: str, tmp_path: Path) -> None:
    variable = f"{name.removeprefix('STREAM_GUARD_')}__EXTRA__MORE"
    if "RATES" not in variable:
        assert "there is no such setting" in problems(tmp_path, **{variable: "1"})[0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http: {port: 65536}", "http.port: must be less than or equal to 65535"),
        ("http: 9464", "http: must be a section with settings of its own"),
        ("broker: localhost", "broker.0: 'localhost' is no address; write host:port, such as 127.0.0.1:9092"),
        ("broker: 'a:0'", "broker.0: 'a:0' is no address; write host:port, such as 127.0.0.1:9092"),
        (
            "broker: 'a:1,https://b:2'",
            "broker.1: 'https://b:2' is no address; write host:port, such as 127.0.0.1:9092",
        ),
        ("app_id: a b", "app_id: must be letters, digits, '.', '_' and '-'"),
        ("instance_id: -a", "instance_id: must be letters, digits, '.', '_' and '-'"),
        ("partitions: 0", "partitions: must be greater than or equal to 1"),
        ("topics: {alerts: a/b}", "topics.alerts: must be letters, digits, '.', '_' and '-'"),
        (
            "topics: {alerts: decisions}",
            "topics: decisions and alerts are both 'decisions'; every topic needs its own name",
        ),
        (
            "topics: {cases: '{app_id}-legs'}",
            "topics: legs and cases are both '{app_id}-legs'; every topic needs its own name",
        ),
        ("decisions: {emit: some}", "decisions.emit: must be 'interceptions' or 'all'"),
        ("policy: {on_late: stop}", "policy: on_late must be allow, confirm or hold, not stop"),
        (
            "policy: {warning_ttl: 3x}",
            "policy.warning_ttl: must be seconds, or a number with s, m, h or d, such as 30d",
        ),
        (
            "policy: {fallback_action: stop}",
            "policy.fallback_action: stop is only for listed parties and police rules; write hold at most",
        ),
        (
            "bank: {timezone: Mars}",
            "bank.timezone: 'Mars' is no time zone; write an IANA name such as Asia/Shanghai",
        ),
        (
            "bank: {timezone: ../etc}",
            "bank.timezone: '../etc' is no time zone; write an IANA name such as Asia/Shanghai",
        ),
        (
            "bank: {base_currency: yuan}",
            "bank.base_currency: must be an ISO 4217 code of three capital letters",
        ),
        ("bank: {rates: {USD: 0}}", "bank.rates.USD: must be greater than 0"),
        ("bank: {limits: [0]}", "bank.limits is (0.0,); every limit must be a number above 0"),
        ("bank: {rates: {CNY: 2}}", "bank.rates gives the base currency CNY a rate other than 1"),
        (
            "state: {flush_interval_s: 6}",
            "state: lease_s must be at least twice flush_interval_s, or a slow commit ends the lease",
        ),
        (
            "consumer: {heartbeat_s: 4}",
            "consumer: session_timeout_s must be at least 3 times heartbeat_s, or one lost heartbeat counts",
        ),
        ("retention: {internal: 60}", "retention.internal: must be at least an hour (1h)"),
        ("models: {pack: nowhere.yaml}", "models.pack: there is no file nowhere.yaml"),
        ("log: {level: verbose}", "log.level: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [f"worker.yaml: {problem}"]


def test_a_wrong_variable_is_called_by_its_own_name(tmp_path: Path) -> None:
    assert problems(tmp_path, "http: {port: 1}", HTTP__PORT="x", BANK__TIMEZONE="Mars") == [
        "STREAM_GUARD_BANK__TIMEZONE: 'Mars' is no time zone; write an IANA name such as Asia/Shanghai",
        "STREAM_GUARD_HTTP__PORT: must be a valid integer, unable to parse string as an integer",
    ]
    assert problems(tmp_path, BANK__RATES="7") == [
        'STREAM_GUARD_BANK__RATES: must be pairs such as {"USD": 7.1}'
    ]
    assert problems(tmp_path, BANK__RATES="x") == [
        'STREAM_GUARD_BANK__RATES: must be pairs such as {"USD": 7.1}'
    ]


@pytest.mark.parametrize("text", ["[1]", "a: [", "a: 1\na: 2", "", "\t- x"])
def test_a_file_that_is_no_settings_file_is_refused_by_name(text: str, tmp_path: Path) -> None:
    assert all(problem.startswith("worker.yaml") for problem in problems(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.yaml cannot be read: No such file"):
        load_settings(tmp_path / "missing.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"app_id: \xe9")
    with pytest.raises(SettingsError, match=r"latin\.yaml cannot be read: it is not UTF-8"):
        load_settings(tmp_path / "latin.yaml", {})


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(None, {})
    with pytest.raises(ValidationError):
        settings.app_id = "b"
    with pytest.raises(ValidationError):
        settings.http.port = 1


@given(
    st.dictionaries(
        st.sampled_from([name.removeprefix("STREAM_GUARD_") for name in environment_names()]), st.text()
    )
)
def test_whatever_the_environment_holds_is_settings_or_problems(variables: dict[str, str]) -> None:
    variables.pop("TOPICS__LEGS", None)
    with contextlib.suppress(SettingsError):
        assert from_environment(**variables).topics.legs.endswith("-legs")


# ---- security ----

SECRET = "hunter2-çØ"


def secured(folder: Path, text: str, **variables: str) -> Settings:
    return from_yaml(folder, f"security: {{{text}}}", **variables)


@pytest.mark.parametrize(
    ("text", "variables", "problem"),
    [
        (
            "protocol: SASL_PLAINTEXT",
            {},
            "security.protocol: SASL_PLAINTEXT sends credentials in the clear; set SASL_SSL",
        ),
        (
            "username: a",
            {},
            "security: username is set, but protocol PLAINTEXT does not use it; set SASL_SSL",
        ),
        (
            "protocol: SSL, username: a",
            {},
            "security: username is set, but protocol SSL does not use it; set SASL_SSL",
        ),
        (
            "ca_file: ca.pem",
            {},
            "security: ca_file is set, but protocol PLAINTEXT does not use it; set SSL or SASL_SSL",
        ),
        (
            "protocol: PLAINTEXT",
            {"SECURITY__PASSWORD": SECRET},
            "security: password is set, but protocol PLAINTEXT does not use it; set SASL_SSL",
        ),
        (
            "protocol: SASL_SSL",
            {"SECURITY__PASSWORD": SECRET},
            "security: protocol SASL_SSL needs a username",
        ),
        (
            "protocol: SASL_SSL, username: a",
            {},
            "security: protocol SASL_SSL needs a password or a password_file, and only one of them",
        ),
        (
            "protocol: SASL_SSL, username: a, password_file: secret",
            {"SECURITY__PASSWORD": SECRET},
            "security: protocol SASL_SSL needs a password or a password_file, and only one of them",
        ),
        ("protocol: SASL_SSL, username: a, password_file: empty", {}, "security: the SASL password is empty"),
        (
            "protocol: SSL, cert_file: ca.pem",
            {},
            "security: cert_file and key_file belong together; set both or neither",
        ),
        (
            "protocol: SSL",
            {"SECURITY__KEY_PASSWORD": SECRET},
            "security: key_password is set without a key_file",
        ),
        ("protocol: SSL, ca_file: nowhere.pem", {}, "security.ca_file: there is no file nowhere.pem"),
        ("protocol: ssl", {}, "security.protocol: must be 'PLAINTEXT', 'SSL' or 'SASL_SSL'"),
        (
            "protocol: SASL_SSL, mechanism: GSSAPI",
            {},
            "security.mechanism: must be 'SCRAM-SHA-512', 'SCRAM-SHA-256' or 'PLAIN'",
        ),
    ],
)
def test_nothing_falls_back_to_less_security(
    text: str, variables: dict[str, str], problem: str, tmp_path: Path
) -> None:
    for name, content in (("ca.pem", "x"), ("secret", SECRET), ("empty", "\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert problems(tmp_path, f"security: {{{text}}}", **variables) == [f"worker.yaml: {problem}"]


def test_certificates_that_cannot_be_used_are_refused_at_load(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk", encoding="utf-8")
    assert (
        "worker.yaml: security: ca_file cannot be used: "
        in problems(tmp_path, "security: {protocol: SSL, ca_file: junk.pem}")[0]
    )
    found = problems(tmp_path, "security: {protocol: SSL, cert_file: junk.pem, key_file: junk.pem}")
    assert "cert_file, key_file or key_password cannot be used: " in found[0]


def test_tls_checks_certificates_and_host_names(tmp_path: Path) -> None:
    arguments = secured(tmp_path, "protocol: SSL").python_client()
    context = arguments["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert secured(tmp_path, "protocol: SSL").librdkafka() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SSL",
        "enable.ssl.certificate.verification": True,
        "ssl.endpoint.identification.algorithm": "https",
    }


@pytest.mark.parametrize("kind", ["file", "environment"])
def test_sasl_goes_over_tls_with_a_password_from_the_environment_or_a_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")
    if kind == "file":
        settings = secured(tmp_path, "protocol: SASL_SSL, username: u, password_file: secret")
    else:
        settings = secured(tmp_path, "protocol: SASL_SSL, username: u", SECURITY__PASSWORD=SECRET)
    arguments = settings.python_client()
    context = arguments.pop("ssl_context")
    assert context.check_hostname
    assert arguments == {
        "bootstrap_servers": ["127.0.0.1:9092"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": SECRET,
    }
    librdkafka = settings.librdkafka()
    assert (librdkafka["sasl.password"], librdkafka["sasl.mechanism"]) == (SECRET, "SCRAM-SHA-512")
    Producer({**librdkafka, "logger": logging.getLogger("quiet"), "log_level": 0})


def test_plaintext_has_no_security_arguments() -> None:
    settings = from_environment(BROKER="a:1,b:2")
    assert settings.python_client() == {"bootstrap_servers": ["a:1", "b:2"], "security_protocol": "PLAINTEXT"}
    assert settings.librdkafka() == {"bootstrap.servers": "a:1,b:2", "security.protocol": "PLAINTEXT"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a key with the openssl command")
@pytest.mark.parametrize("password", ["", SECRET])
def test_our_own_certificate_is_used(password: str, tmp_path: Path) -> None:
    subject = ["-subj", "/CN=stream-guard", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2"]
    cipher = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        *subject,
        *cipher,
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=20)
    text = "protocol: SSL, ca_file: cert.pem, cert_file: cert.pem, key_file: key.pem"
    settings = secured(tmp_path, text, SECURITY__KEY_PASSWORD=password)
    assert settings.security.ssl_context().get_ca_certs()
    librdkafka = settings.librdkafka()
    assert librdkafka["ssl.key.location"] == str(tmp_path / "key.pem")
    assert librdkafka.get("ssl.key.password", "") == password
    if password:
        assert "key_password cannot be used" in problems(tmp_path, f"security: {{{text}}}")[0]


@pytest.mark.parametrize("name", ["password", "key_password"])
def test_a_secret_in_the_file_is_refused_and_never_shown(name: str, tmp_path: Path) -> None:
    found = problems(tmp_path, f"security: {{protocol: SASL_SSL, username: u, {name}: {SECRET}}}")
    variable = f"STREAM_GUARD_SECURITY__{name.upper()}"
    assert found[0] == f"worker.yaml: security.{name} must not be in this file; set {variable} instead"
    assert SECRET not in "\n".join(found)


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    settings = secured(tmp_path, "protocol: SASL_SSL, username: u", SECURITY__PASSWORD=SECRET)
    for shown in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert SECRET not in shown
    for text in (
        f"pasword: {SECRET}",
        f"username: [{SECRET}]",
        f"protocol: {SECRET}",
        f"mechanism: {SECRET}",
    ):
        assert SECRET not in "\n".join(problems(tmp_path, f"security: {{{text}}}"))


# ---- what is made of them ----


def test_the_bank_is_the_one_of_the_settings() -> None:
    settings = from_environment(
        BANK__BASE_CURRENCY="EUR",
        BANK__TIMEZONE="Europe/Berlin",
        BANK__RATES='{"USD": 0.9}',
        BANK__LIMITS="10000",
        BANK__SMALL_AMOUNT="50",
        BANK__FUTURE_MS="1000",
        PARTIES__NOT_ACCOUNTS="TILL*",
    )
    bank = settings.bank_for(7)
    assert (bank.base_currency, bank.timezone, bank.rate_of("USD")) == ("EUR", "Europe/Berlin", 0.9)
    assert (bank.limits, bank.small_amount, bank.future_ms, bank.partitions) == ((10_000.0,), 50.0, 1000, 7)
    assert not bank.is_account("TILL7")
    assert bank.is_account("EXT_1")


def test_the_policy_takes_the_workers_part_from_the_settings() -> None:
    settings = from_environment(
        POLICY__WARN_AT="55", POLICY__WARNING_TTL="2d", POLICY__FALLBACK_ACTION="hold"
    )
    assert set(settings.policy.overrides) == set(WorkerPolicy.model_fields)
    policy = load_policy(*settings.models.read("policy"), **settings.policy.overrides)
    assert (policy.warn_at, policy.warning_ttl_s) == (55, 172_800)


def test_a_model_file_that_went_away_is_named(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text("x", encoding="utf-8")
    models = from_yaml(tmp_path, f"models: {{pack: {pack}}}").models
    assert models.read("pack") == ("x", str(pack))
    pack.unlink()
    with pytest.raises(
        ValueError, match=r"pack.yaml cannot be read: No such file or directory; set models.pack"
    ):
        models.read("pack")


def test_the_instance_id_is_the_hosts_name_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, name in (("worker-3.bank", "worker-3.bank"), ("wörker 3_", "w-rker-3"), ("主机", "worker")):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert load_settings(None, {}).instance_id == name


@pytest.mark.parametrize(
    ("variables", "cautions"),
    [
        ({"BROKER": "localhost:1,[::1]:2,127.0.0.9:3"}, 0),
        ({"BROKER": "127.0.0.1:1,kafka:2"}, 1),
        ({"HTTP__HOST": "0.0.0.0"}, 1),
        ({"HTTP__HOST": "localhost"}, 0),
        ({"STATE__BACKEND": "memory"}, 1),
    ],
)
def test_what_is_allowed_and_better_not_done_is_said(variables: dict[str, str], cautions: int) -> None:
    assert len(from_environment(**variables).cautions()) == cautions


def test_the_shipped_files_are_strict_yaml() -> None:
    for file in CONFIGS.glob("*.yaml"):
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict)
        assert str(Path.home()) not in file.read_text(encoding="utf-8")
