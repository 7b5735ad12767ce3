"""A secured Kafka: the shipped properties, certificates and commands, on addresses of this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from stream_guard.cli import main
from stream_guard.streaming.topics import BrokerUnreachable, admin_client
from tests.kafka.broker import Broker, free_port
from tests.kafka.harness import ROOT, Env, settings_of

SECURE = ROOT / "docker" / "secure"


@dataclass(frozen=True)
class SecuredKafka:
    """A running secured broker.

    Attributes
    ----------
    clients
        Address for users with a password.
    administration
        Address for the administrator's certificate.
    folder
        Certificates and passwords.
    """

    clients: str
    administration: str
    folder: Path

    def administrator(self, environment: Env) -> Env:
        """The same variables, as the administrator."""
        return {
            **environment,
            "STREAM_GUARD_BROKER": self.administration,
            "STREAM_GUARD_SECURITY__PROTOCOL": "SSL",
            "STREAM_GUARD_SECURITY__CA_FILE": str(self.folder / "ca.pem"),
            "STREAM_GUARD_SECURITY__CERT_FILE": str(self.folder / "admin.crt"),
            "STREAM_GUARD_SECURITY__KEY_FILE": str(self.folder / "admin.key"),
        }

    def user(self, environment: Env, name: str) -> Env:
        """The same variables, as a user."""
        return {
            **environment,
            "STREAM_GUARD_BROKER": self.clients,
            "STREAM_GUARD_SECURITY__PROTOCOL": "SASL_SSL",
            "STREAM_GUARD_SECURITY__CA_FILE": str(self.folder / "ca.pem"),
            "STREAM_GUARD_SECURITY__USERNAME": name,
            "STREAM_GUARD_SECURITY__PASSWORD_FILE": str(self.password_file(name)),
        }

    def password_file(self, name: str) -> Path:
        """Where a user's password is; a new one is made up the first time."""
        file = self.folder / f"{name}.password"
        if not file.exists():
            file.write_text(secrets.token_urlsafe(24) + "\n")
        return file


@contextmanager
def running_secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """One broker with the shipped set-up, until the end of the block."""
    certificates = folder / "certificates"
    subprocess.run([SECURE / "certificates", certificates, "localhost", "127.0.0.1"], check=True)
    clients, administration, controller = (f"127.0.0.1:{free_port()}" for _ in range(3))
    shipped = dict(
        line.split("=", 1)
        for line in (SECURE / "server.properties").read_text().splitlines()
        if line and not line.startswith("#")
    )
    here = {
        "listeners": f"CLIENT://{clients},ADMIN://{administration},CONTROLLER://{controller}",
        "advertised.listeners": f"CLIENT://{clients},ADMIN://{administration}",
        "controller.quorum.voters": f"1@{controller}",
        "ssl.keystore.location": str(certificates / "broker.pem"),
        "ssl.truststore.location": str(certificates / "ca.pem"),
        "log.dirs": str(folder / "data"),
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.num.partitions": "4",
        "group.initial.rebalance.delay.ms": "0",
    }
    secured = SecuredKafka(clients, administration, certificates)

    def ready() -> bool:
        try:
            with admin_client(settings_of(secured.administrator({})).python_client(), timeout_s=2.0) as admin:
                return bool(admin.describe_cluster()["brokers"])
        except BrokerUnreachable:
            return False

    with Broker({**shipped, **here}, ready=ready):
        yield secured


def run(environment: Env, *arguments: str) -> int:
    """Exit code of a command run with these variables."""
    with patch.dict(os.environ, environment):
        return main(list(arguments))
