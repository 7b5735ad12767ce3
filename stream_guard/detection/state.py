"""What detection remembers of one partition, and what all partitions of a process share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.anomaly import Detectors
from stream_guard.detection.anomaly_settings import AnomalySettings
from stream_guard.detection.answers import Answers
from stream_guard.detection.bank import Bank
from stream_guard.detection.features import CARRIED, FEATURES, FIRST_WIDTH, INDEX
from stream_guard.detection.local_time import midnights
from stream_guard.detection.policy import Policy, RuleMeta
from stream_guard.detection.profiles import Profiles
from stream_guard.detection.rules import CompiledPack
from stream_guard.detection.sharing import NewUses, Sharing, SharingLimits
from stream_guard.detection.signals import Signals
from stream_guard.detection.vocabulary import RuleState, Side
from stream_guard.detection.warning_book import WarningBook
from stream_guard.feedback.tallies import Tallies, bank_days


@dataclass(frozen=True)
class Context:
    """What decides, the same for every partition of a process.

    Attributes
    ----------
    bank, pack, policy, anomaly
        The bank's facts and its models.
    signals
        Risk signals in force; filled while the process runs.
    sharing
        From when on accounts behind one device or address are too many.
    emit_all
        Whether payments that are allowed get a decision message too.
    audit
        Whether decisions carry the value of every feature.
    """

    bank: Bank
    pack: CompiledPack
    policy: Policy
    anomaly: AnomalySettings
    signals: Signals = field(default_factory=Signals)
    sharing: SharingLimits = field(default_factory=SharingLimits)
    emit_all: bool = False
    audit: bool = False

    @cached_property
    def meta(self) -> RuleMeta:
        """What deciding needs to know of the rules."""
        return RuleMeta.of((rule.account, rule.action, rule.state, rule.source) for rule in self.pack.rules)

    @cached_property
    def rule_keys(self) -> tuple[str, ...]:
        """``id@version`` of the compiled rules, in the order of the results' columns."""
        return tuple(rule.label for rule in self.pack.rules)

    @cached_property
    def warners(self) -> frozenset[str]:
        """``id@version`` of the rules that open a warning whatever the score."""
        return frozenset(rule.label for rule in self.pack.rules if rule.warn)

    @cached_property
    def shadow(self) -> NDArray[np.bool_]:
        """bool[R]: rules in state shadow."""
        return np.array([rule.state is RuleState.SHADOW for rule in self.pack.rules], dtype=np.bool_)

    @cached_property
    def first_hop_columns(self) -> NDArray[np.intp]:
        """Columns of the first hop's block that the second hop needs: what a leg has to carry."""
        if self.audit:
            return np.arange(FIRST_WIDTH)
        names = {*CARRIED, *self.pack.features}
        for side in Side:
            for item in self.anomaly.inputs(side):
                names.update(name for name in (item.feature, item.against) if name is not None)
        columns = sorted(INDEX[name] for name in names)
        return np.array([column for column in columns if column < FIRST_WIDTH], dtype=np.intp)


FEATURE_NAMES = tuple(feature.name for feature in FEATURES)


class PartitionState:
    """Profiles, warnings, tallies, detectors, shared devices and the newest answers of one partition."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.day_of = bank_days(ZoneInfo(context.bank.timezone))
        self.profiles = Profiles(context.bank)
        self.tallies = Tallies()
        self.book = WarningBook(context.policy, self.tallies, self.day_of)
        self.detectors = Detectors(context.anomaly)
        self.sharing = Sharing(context.sharing, midnights(context.bank.timezone))
        self.new_uses = NewUses()
        self.answers = Answers()
        self.stream_ts = 0

    def see(self, ts: NDArray[np.int64]) -> None:
        """Move the stream time on."""
        if len(ts):
            self.stream_ts = max(self.stream_ts, int(ts.max()))
