"""Scenario 4: brokers stop, are killed and restarted, and the network to them is cut and slow."""

from __future__ import annotations

import time

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.drill import GO_ON_ANEW
from tests.chaos.proxy import Proxy
from tests.kafka.broker import Broker
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

CUT_S = 14.0
"""Session and lease end after 10 s."""


def test_the_only_broker_is_stopped_and_killed(scale: Scale, drill: Start, report: Report) -> None:
    """At any time, in the middle of transactions too, which it may then call complete without their marks."""
    payments = scale.of(20_000, 100_000)
    with Broker() as broker, drill(Kafka(broker.bootstrap, broker), payments=payments) as run:
        run.start("worker-0", "worker-1")
        for end in (broker.stop, broker.kill) * scale.of(1, 2):
            with run.flow(1_000):
                time.sleep(run.random.uniform(1.0, 3.0))
                run.fault(f"{end.__name__} the broker")
                end()
                time.sleep(run.random.uniform(0.0, scale.of(4, 15)))
                broker.start()
            run.settled()
        report("4 broker stopped, killed", run)
        assert {code for _, code in run.ended} <= GO_ON_ANEW


@pytest.mark.chaos_full
def test_the_network_of_one_worker_is_cut_and_slow(scale: Scale, drill: Start, report: Report) -> None:
    payments = scale.of(15_000, 60_000)
    with Proxy() as proxy, Broker(aside=proxy.port) as broker:
        proxy.lead_to(broker.aside_port)
        behind = {"STREAM_GUARD_BROKER": f"127.0.0.1:{proxy.port}"}
        with drill(Kafka(broker.bootstrap, broker), payments=payments) as run:
            run.start("worker-0", "worker-1")
            run.start("cut-off", environment=behind)
            run.wait(run.all_open, "all partitions are open")
            times = scale.of(1, 2)
            portion = payments // (3 * times + 1)
            for _ in range(times):
                run.send(portion)
                time.sleep(run.random.uniform(0.2, 1.0))
                run.fault("cut the network")
                proxy.cut()
                time.sleep(CUT_S)
                proxy.mend()
                run.settled()
                run.send(portion)
                run.fault("slow the network")
                proxy.delay_s = 0.05
                time.sleep(run.random.uniform(2.0, 5.0))
                proxy.delay_s = 0.0
                run.settled()
                run.send(portion)
                time.sleep(run.random.uniform(0.2, 1.0))
                run.fault("break off the connections")
                proxy.break_off()
                run.settled()
            report("4 network cut, slow", run)
            assert {code for _, code in run.ended} <= GO_ON_ANEW


@pytest.mark.chaos_full
def test_a_cluster_loses_a_broker_and_is_restarted_one_by_one(
    scale: Scale, drill: Start, report: Report
) -> None:
    payments = scale.of(20_000, 60_000)
    portion = payments // 5
    with Cluster() as cluster, drill(cluster.kafka, payments=payments) as run:
        run.start("worker-0", "worker-1")
        run.send(portion)
        time.sleep(run.random.uniform(0.3, 1.5))
        victim = run.random.choice(cluster.brokers)
        run.fault("kill a broker")
        victim.kill()
        time.sleep(run.random.uniform(8.0, 15.0))
        victim.start()
        cluster.wait_in_sync()
        for broker in cluster.brokers:
            run.send(portion)
            time.sleep(run.random.uniform(0.3, 1.5))
            run.fault("restart a broker")
            broker.stop()
            broker.start()
            cluster.wait_in_sync()
        report("4 cluster of three", run)
        assert {code for _, code in run.ended} <= GO_ON_ANEW
