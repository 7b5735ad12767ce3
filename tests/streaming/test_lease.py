"""The right to send: proven by commits, lost by silence."""

from __future__ import annotations

import asyncio

import pytest

from stream_guard.streaming.lease import Lease
from tests.streaming.helpers import on_a_loop


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    return Lease(10.0, clock)


def test_nobody_holds_a_lease_that_was_never_proven(lease: Lease) -> None:
    assert not lease.held()


def test_a_lease_ends_after_its_seconds_to_the_moment(lease: Lease, clock: Clock) -> None:
    lease.renew(100.0)
    clock.now = 109.999
    assert lease.held()
    clock.now = 110.0
    assert not lease.held()


def test_the_time_of_the_question_counts_and_not_that_of_the_answer(lease: Lease, clock: Clock) -> None:
    clock.now = 109.0
    lease.renew(100.0)
    assert lease.held()
    clock.now = 110.5
    assert not lease.held()


def test_an_answer_to_an_older_question_takes_nothing_away(lease: Lease, clock: Clock) -> None:
    lease.renew(105.0)
    lease.renew(101.0)
    clock.now = 114.0
    assert lease.held()


def test_a_proof_that_comes_too_late_gives_nothing(lease: Lease, clock: Clock) -> None:
    clock.now = 120.0
    lease.renew(105.0)
    assert not lease.held()


def test_the_clock_of_the_lease_is_the_one_it_was_given(lease: Lease, clock: Clock) -> None:
    clock.now = 7.0
    assert lease.now() == 7.0


@on_a_loop
async def test_waiting_returns_at_once_while_the_lease_is_held() -> None:
    lease = Lease(10.0, lambda: 0.0)
    lease.renew(0.0)
    await asyncio.wait_for(lease.wait(), 0.5)


@on_a_loop
async def test_all_who_wait_go_on_with_the_next_proof_and_not_with_a_late_one() -> None:
    clock = Clock()
    lease = Lease(10.0, clock)
    waiting = [asyncio.create_task(lease.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    lease.renew(80.0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    lease.renew(99.0)
    await asyncio.wait_for(asyncio.gather(*waiting), 0.5)
