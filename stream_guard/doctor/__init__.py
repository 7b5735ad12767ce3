"""An installation examined from outside: nothing is written, nothing is changed.

`examine` looks at the model files, the cluster, the topics, what producers write, the clocks, the group of
the workers and their own servers, in that order: what comes later makes little sense where an earlier
look failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stream_guard.doctor import clocks, cluster, group, local, producers
from stream_guard.doctor.findings import Finding, Verdict, error
from stream_guard.settings import Settings
from stream_guard.streaming.records import consumer
from stream_guard.streaming.topics import BrokerUnreachable, TopicsRefused, admin_client, observe, plan_for

__all__ = ["Finding", "Verdict", "examine"]


def examine(settings: Settings, *, urls: Sequence[str], listen_s: float, sample: int) -> Iterator[Finding]:
    """Everything there is to find, as it is found.

    Parameters
    ----------
    settings
        Of the workers that are examined.
    urls
        Servers of the workers, ``http://HOST:PORT``; none: the one that the settings name, which need not
        answer where the workers run elsewhere.
    listen_s
        How long to wait for new payments, seconds: only their arrival shows a producer's clock to be slow.
    sample
        Newest records of each partition that are looked at.
    """
    yield from local.models(settings)
    yield from _on_the_cluster(settings, listen_s, sample)
    yield from local.workers(settings, urls)


def _on_the_cluster(settings: Settings, listen_s: float, sample: int) -> Iterator[Finding]:
    try:
        yield from cluster.addresses(settings.broker)
        with admin_client(settings.python_client()) as admin:
            yield from cluster.brokers(admin)
            wanted = plan_for(settings, admin)
            found = observe(admin, wanted)
            yield from cluster.topics(admin, wanted, found)
            if len(found) < len(wanted):
                return
            with consumer(settings) as reader:
                yield from producers.partitioners(reader, settings, sample)
                yield from clocks.clocks(reader, settings, found, listen_s)
                yield from group.members(admin, settings, found)
                yield from group.lag(admin, reader, settings, found)
            yield from cluster.transactions(admin, settings, found)
    except (BrokerUnreachable, TopicsRefused) as refusal:
        yield error("broker", str(refusal))
