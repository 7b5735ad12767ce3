"""How to reach the brokers: TLS and SASL, with no way to send a secret in the clear."""

from __future__ import annotations

import ssl
from typing import Any, Literal, Self

from pydantic import SecretStr, field_validator, model_validator

from stream_guard.settings.values import ExistingFile, Section

_TLS_ONLY = ("ca_file", "cert_file", "key_file", "key_password")
_SASL_ONLY = ("username", "password", "password_file")
SECRETS = ("password", "key_password")
"""Settings that the YAML file must not hold."""


class Security(Section):
    """Security of the connections to Kafka.

    Raises
    ------
    ValueError
        Settings that contradict each other. Nothing falls back to a weaker protocol: credentials without
        TLS are refused, and so is a certificate that would not be used.
    """

    protocol: Literal["PLAINTEXT", "SSL", "SASL_SSL"] = "PLAINTEXT"
    """SASL_SSL: TLS with user name and password. SSL: TLS. PLAINTEXT: neither, for loopback."""
    ca_file: ExistingFile | None = None
    """Certificates (PEM) of who signs the brokers'; the system's where absent."""
    cert_file: ExistingFile | None = None
    """Our own certificate (PEM), where brokers ask for one."""
    key_file: ExistingFile | None = None
    """Its private key (PEM)."""
    key_password: SecretStr | None = None
    """Password of the private key; from the environment only."""
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    """SASL mechanism."""
    username: str | None = None
    """SASL user name."""
    password: SecretStr | None = None
    """SASL password; from the environment only."""
    password_file: ExistingFile | None = None
    """File with the SASL password, instead of `password`."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _no_credentials_in_the_clear(cls, value: Any) -> Any:
        if value == "SASL_PLAINTEXT":
            raise ValueError("SASL_PLAINTEXT sends credentials in the clear; set SASL_SSL")
        return value

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        unused = (*_TLS_ONLY, *_SASL_ONLY) if self.protocol == "PLAINTEXT" else _SASL_ONLY
        given = [name for name in unused if getattr(self, name) is not None]
        if given and self.protocol != "SASL_SSL":
            needed = "SASL_SSL" if any(name in _SASL_ONLY for name in given) else "SSL or SASL_SSL"
            raise ValueError(f"{given[0]} is set, but protocol {self.protocol} does not use it; set {needed}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; set both or neither")
        if self.key_password is not None and self.key_file is None:
            raise ValueError("key_password is set without a key_file")
        if self.protocol == "SASL_SSL":
            if not self.username:
                raise ValueError("protocol SASL_SSL needs a username")
            if (self.password is None) == (self.password_file is None):
                raise ValueError(
                    "protocol SASL_SSL needs a password or a password_file, and only one of them"
                )
            if not self._sasl_password():
                raise ValueError("the SASL password is empty")
        if self.protocol != "PLAINTEXT":
            self.ssl_context()
        return self

    def ssl_context(self) -> ssl.SSLContext:
        """TLS as clients should do it: 1.2 or later, certificates and host names checked.

        Raises
        ------
        ValueError
            A certificate or key that cannot be read; the sentence says which setting names it.
        """
        setting = "ca_file"
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file is not None:
                setting = "cert_file, key_file or key_password"
                # Without a password OpenSSL would ask for one on the terminal.
                password = self.key_password.get_secret_value() if self.key_password else ""
                context.load_cert_chain(self.cert_file, self.key_file, password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise ValueError(f"{setting} cannot be used: {_cause(error)}") from None
        return context

    def python_client(self) -> dict[str, Any]:
        """Security arguments of aiokafka's and kafka-python's clients, which are the same.

        Examples
        --------
        >>> Security().python_client()
        {'security_protocol': 'PLAINTEXT'}
        """
        arguments: dict[str, Any] = {"security_protocol": self.protocol}
        if self.protocol != "PLAINTEXT":
            arguments["ssl_context"] = self.ssl_context()
        if self.protocol == "SASL_SSL":
            arguments["sasl_mechanism"] = self.mechanism
            arguments["sasl_plain_username"] = self.username
            arguments["sasl_plain_password"] = self._sasl_password()
        return arguments

    def librdkafka(self) -> dict[str, Any]:
        """The same for clients on librdkafka (confluent-kafka)."""
        arguments: dict[str, Any] = {"security.protocol": self.protocol}
        if self.protocol != "PLAINTEXT":
            arguments["enable.ssl.certificate.verification"] = True
            arguments["ssl.endpoint.identification.algorithm"] = "https"
            for option, path in (
                ("ssl.ca.location", self.ca_file),
                ("ssl.certificate.location", self.cert_file),
                ("ssl.key.location", self.key_file),
            ):
                if path is not None:
                    arguments[option] = str(path)
            if self.key_password is not None:
                arguments["ssl.key.password"] = self.key_password.get_secret_value()
        if self.protocol == "SASL_SSL":
            arguments["sasl.mechanism"] = self.mechanism
            arguments["sasl.username"] = self.username
            arguments["sasl.password"] = self._sasl_password()
        return arguments

    def _sasl_password(self) -> str:
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            return ""
        try:
            return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"password_file cannot be read: {_cause(error)}") from None


def _cause(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__)
