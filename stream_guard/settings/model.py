"""All settings together, and what the rest of the product makes of them."""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stream_guard.detection.bank import Bank
from stream_guard.settings.sections import (
    BankSettings,
    ConsumerSettings,
    Decisions,
    Http,
    Log,
    Models,
    Parties,
    PolicySettings,
    Retention,
    SharingSettings,
    State,
    Topics,
)
from stream_guard.settings.security import Security
from stream_guard.settings.values import HostPort

PREFIX = "STREAM_GUARD_"
NESTING = "__"


def _addresses(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip().removeprefix("kafka://") for part in re.split("[,;]", value) if part.strip())


def _host_name() -> str:
    # Orchestrators give the replicas of a stateful set stable host names, so a restarted one is known again.
    return re.sub("[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip(".-")[:100] or "worker"


class Settings(BaseSettings):
    """Settings of one worker process. Made by `load_settings`; immutable.

    Examples
    --------
    >>> settings = Settings(app_id="bank-a", http={"port": 0})
    >>> settings.topics.legs, settings.broker, settings.bank_for(12).partitions
    ('bank-a-legs', ('127.0.0.1:9092',), 12)
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=NESTING,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    broker: Annotated[tuple[HostPort, ...], NoDecode, BeforeValidator(_addresses), Field(min_length=1)] = (
        "127.0.0.1:9092",
    )
    """Addresses of brokers to start from, host:port, with commas between them."""
    app_id: str = Field(default="stream-guard", pattern="^[A-Za-z0-9._-]{1,100}$")
    """Consumer group, and prefix of internal topics and transactional ids. Another id starts from nothing."""
    instance_id: str = Field(default_factory=_host_name, pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Stable name of this process, different for every process; the host name where absent."""
    data_dir: Path = Path("data")
    """Folder for what may be lost and made again: compiled kernels, snapshots."""
    partitions: int | None = Field(default=None, ge=1, le=10_000)
    """Partition count that the keyed topics must have; whatever they have where absent."""
    state: State = State()
    topics: Topics = Topics()
    retention: Retention = Retention()
    bank: BankSettings = BankSettings()
    parties: Parties = Parties()
    sharing: SharingSettings = SharingSettings()
    decisions: Decisions = Decisions()
    policy: PolicySettings = PolicySettings()
    models: Models = Models()
    http: Http = Http()
    security: Security = Security()
    consumer: ConsumerSettings = ConsumerSettings()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed in: the file and the environment are `load_settings`' business."""
        return (init_settings,)

    @model_validator(mode="after")
    def _name_topics(self) -> Self:
        named = {role: name.replace("{app_id}", self.app_id) for role, name in self.topics.names.items()}
        # The model is frozen for everyone else.
        self.__dict__["topics"] = Topics(**named)
        return self

    @model_validator(mode="after")
    def _makes_a_bank(self) -> Self:
        self.bank_for(self.partitions or 1)
        return self

    def bank_for(self, partitions: int) -> Bank:
        """The bank as detection knows it, with the partition count that the topics turned out to have."""
        return Bank(
            base_currency=self.bank.base_currency,
            timezone=self.bank.timezone,
            rates=self.bank.rates,
            not_accounts=self.parties.not_accounts,
            limits=self.bank.limits,
            small_amount=self.bank.small_amount,
            partitions=partitions,
            future_ms=self.bank.future_ms,
        )

    def python_client(self) -> dict[str, Any]:
        """Connection arguments of aiokafka's and kafka-python's clients: brokers and security."""
        return {"bootstrap_servers": list(self.broker), **self.security.python_client()}

    def librdkafka(self) -> dict[str, Any]:
        """Connection arguments of clients on librdkafka (confluent-kafka): brokers and security."""
        return {"bootstrap.servers": ",".join(self.broker), **self.security.librdkafka()}

    def cautions(self) -> list[str]:
        """Sentences to say at start about what is allowed and yet better not done.

        Examples
        --------
        >>> Settings().cautions()
        []
        >>> for sentence in Settings(broker="kafka.bank:9092", http={"host": "0.0.0.0"}).cautions():
        ...     print(sentence)
        payments travel unencrypted to kafka.bank:9092; set security.protocol
        /metrics is open to the network on 0.0.0.0, without TLS or a password
        """
        sentences = []
        remote = [address for address in self.broker if not _is_loopback(address.rpartition(":")[0])]
        if self.security.protocol == "PLAINTEXT" and remote:
            sentences.append(f"payments travel unencrypted to {', '.join(remote)}; set security.protocol")
        if not _is_loopback(self.http.host):
            sentences.append(
                f"/metrics is open to the network on {self.http.host}, without TLS or a password"
            )
        if self.state.backend == "memory":
            sentences.append("state.backend is memory: profiles and open warnings end with this process")
        return sentences


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
