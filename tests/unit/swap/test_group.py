# Copyright the Blockmirror contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""A group's rules: what it waits for, what takes all back, and what it tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, cast

import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk, FileSource, Seconds
from blockmirror_driver.swap.group import Group, GroupOutcome, Wishes
from blockmirror_driver.swap.record import Outcome, SwapEvent
from blockmirror_driver.swap.request import Ending, SwapRequest
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import SwapState

#: Far more than anything here takes (seconds); only a test that fails waits as long.
LONG = 30.0


class Domain:
    """Its guest agent: counts, or fails."""

    name, uuid = 'guest', 'uuid'

    def __init__(self) -> None:
        self.said: list[str] = []
        self.error: exception.BlockmirrorError | None = None

    def freeze(self, _timeout: Seconds) -> int:
        self.said.append('freeze')
        if self.error:
            raise self.error
        return 2

    def thaw(self) -> int:
        self.said.append('thaw')
        return 2


class Service:
    """A swap that is held, and then ends as its test wants."""

    def __init__(self, domain: Domain) -> None:
        self.hypervisor = self
        self._domain = domain
        self.go = threading.Event()
        self.cancelled = False
        self.refusal: exception.BlockmirrorError | None = None
        self.waits = False
        self.row: object = None
        self.fails_copying: exception.BlockmirrorError | None = None
        self.fails_pivoting: exception.BlockmirrorError | None = None
        self.request: SwapRequest | None = None
        self.frozen_at_the_switch = False

    def domain(self, _name: str) -> Domain:
        return self._domain

    def plan(self, request: SwapRequest) -> Service:
        self.request = request
        return self

    def admit(
        self,
        plans: list[Service],
        again: Callable[[int], list[Service]],
        observer: Callable[[SwapEvent], None],
    ) -> tuple[list[Service], list[str]]:
        if self.waits:
            observer(SwapEvent(time.time(), '', 'state', SwapState.PLANNED, 'waiting'))
            plans = again(7)
        return plans, [f'row {number}' for number, _plan in enumerate(plans)]

    def raise_if_refused(self) -> None:
        if self.refusal:
            raise self.refusal

    def run(
        self,
        request: SwapRequest,
        *,
        observer: Callable[[SwapEvent], None],
        plan: object,
        record: object,
    ) -> Outcome:
        assert plan is self
        self.row = record

        def tell(state: SwapState) -> None:
            observer(SwapEvent(time.time(), f'swap-{request.dev}', 'state', state))

        tell(SwapState.COPYING)
        if self.fails_copying:
            raise self.fails_copying
        tell(SwapState.HELD)
        assert self.go.wait(LONG)
        if self.cancelled:
            raise exception.Cancelled('cancelled on request')
        if self.fails_pivoting:
            raise self.fails_pivoting
        self.frozen_at_the_switch = self._domain.said == ['freeze']
        tell(SwapState.PIVOTED)
        state = SwapState.CLEANED
        tell(state)
        return Outcome('swap', state, 'guest', request.dev, 'a', 'b', 1, 1.0, 0)

    def request_pivot(self, _swap_id: str) -> int:
        return 1

    def look(self) -> None:
        self.go.set()

    def cancel_local(self) -> None:
        self.cancelled = True
        self.go.set()


class GroupTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.guest = Domain()
        self.services = [Service(self.guest) for _ in range(2)]
        self.group = Group(cast('list[SwapService]', self.services))

    def requests(self, **changes: Any) -> list[SwapRequest]:
        return [
            SwapRequest('guest', dev, Disk(FileSource(f'/{dev}')), CopyOptions(), **changes)
            for dev in ('vda', 'vdb')
        ]

    def run_group(self, wishes: Wishes = Wishes()) -> GroupOutcome:  # noqa: B008 - frozen
        return self.group.run(self.requests(), wishes)

    def fails(self, error: type[exception.BlockmirrorError], wishes: Wishes = Wishes()) -> str:  # noqa: B008
        return str(self.assertRaises(error, self.run_group, wishes))

    def test_frozen_for_the_switch_of_all(self) -> None:
        done = self.run_group()
        self.assertEqual(['vda', 'vdb'], [one.dev for one in done.outcomes])
        self.assertEqual(['freeze', 'thaw'], self.guest.said)
        self.assertEqual([True, True], [one.frozen_at_the_switch for one in self.services])
        self.assertEqual(2, done.frozen)
        for service in self.services:
            assert service.request is not None
            self.assertEqual(
                (True, True, 2),
                (service.request.hold, service.request.options.quiesce, service.request.places),
            )

    def test_room_for_all_or_none(self) -> None:
        """They wait for it together, are planned anew then, and have one row each."""
        self.services[0].waits = True
        told: list[tuple[str, str]] = []
        self.group.run(
            self.requests(), Wishes(), lambda dev, event: told.append((dev, event.detail))
        )
        self.assertIn(('vda', 'waiting'), told)
        self.assertEqual(['row 0', 'row 1'], [one.row for one in self.services])
        asked = [one.request for one in self.services]
        self.assertEqual([7, 7], [one.turn for one in asked if one is not None])

    def test_not_frozen(self) -> None:
        self.assertEqual(0, self.run_group(Wishes('never')).frozen)
        self.assertEqual([], self.guest.said)

    def test_no_agent(self) -> None:
        self.guest.error = exception.HypervisorUnavailable('no agent')
        self.assertEqual(0, self.run_group().frozen)
        self.assertEqual(['freeze', 'thaw'], self.guest.said)

    def test_no_agent_and_no_going_without(self) -> None:
        self.guest.error = exception.HypervisorUnavailable('no agent')
        self.assertIn('no agent', self.fails(exception.Cancelled, Wishes('always')))
        self.assertEqual([True, True], [one.cancelled for one in self.services])

    def test_refused_as_a_whole(self) -> None:
        self.services[1].refusal = exception.PlanRefused('too small')
        self.assertEqual('vdb: too small', self.fails(exception.PlanRefused))
        self.assertFalse(self.services[0].go.is_set())

    def test_one_that_fails_takes_all_back(self) -> None:
        self.services[1].fails_copying = exception.CopyFailed('no space')
        self.assertEqual('vdb: no space', self.fails(exception.CopyFailed))
        self.assertTrue(self.services[0].cancelled)
        self.assertEqual([], self.guest.said)

    def test_one_that_does_not_switch(self) -> None:
        self.services[0].fails_pivoting = exception.CopyFailed('QEMU said no')
        told = self.fails(exception.GroupIncomplete)
        self.assertEqual('done: vdb; not done: vda: QEMU said no', told)
        self.assertEqual(['freeze', 'thaw'], self.guest.said)

    def test_one_that_is_not_known(self) -> None:
        self.services[0].fails_pivoting = exception.StateUnknown('who knows')
        self.assertEqual('vda: who knows', self.fails(exception.StateUnknown))

    def test_bad_groups(self) -> None:
        one, other = self.requests()
        same = SwapRequest('guest', 'vdc', one.destination, CopyOptions())
        for requests in ([], [one, one], [other, one, same], self.requests(ending=Ending.ASYNC)):
            self.assertRaises(exception.UsageError, self.group.run, requests, Wishes())
