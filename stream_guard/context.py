"""From settings and model files to what decides."""

from __future__ import annotations

from stream_guard.detection.anomaly_settings import load_anomaly
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import check_file, compile_pack
from stream_guard.detection.state import Context
from stream_guard.settings import Settings


def load_context(settings: Settings, partitions: int) -> Context:
    """Read and check the models, compile the rules.

    Parameters
    ----------
    settings
        Checked settings.
    partitions
        Partition count of the keyed topics.

    Raises
    ------
    PackError, DocumentError, ValueError
        A model file is refused; the message names the file and the place.
    """
    kernels = settings.data_dir / "kernels"
    kernels.mkdir(parents=True, exist_ok=True)
    policy_text, policy_source = settings.models.read("policy")
    anomaly_text, anomaly_source = settings.models.read("anomaly")
    return Context(
        bank=settings.bank_for(partitions),
        pack=compile_pack(check_file(settings.models.pack), kernels),
        policy=load_policy(policy_text, policy_source, **settings.policy.overrides),
        anomaly=load_anomaly(anomaly_text, anomaly_source),
        sharing=settings.sharing.limits,
        emit_all=settings.decisions.emit == "all",
        audit=settings.decisions.features,
    )
