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
"""A swap that may wait for its turn: its plan says so, and it is planned anew when it comes."""

from __future__ import annotations

import functools
import json
import queue
import types
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import fixtures

from blockmirror_driver import exception
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap import turn as turns
from blockmirror_driver.swap.budget import Budget, Limit
from blockmirror_driver.swap.checks import Check
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.plan import Plan
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.swap.tickets import Tickets
from blockmirror_driver.swap.turn import Turn
from tests.unit.swap.guest import TimedQueue
from tests.unit.swap.records import record
from tests.unit.swap.world import WorldTestCase

MIB = 1 << 20


class AdmissionTestCase(WorldTestCase):
    def setUp(self) -> None:
        super().setUp()
        stand_in = types.SimpleNamespace(
            SimpleQueue=lambda: TimedQueue(self.world), Empty=queue.Empty
        )
        patcher = mock.patch.object(turns, 'queue', stand_in)
        patcher.start()
        self.addCleanup(patcher.stop)
        self.set(max_concurrent_swaps=1)

    def set(self, **options: object) -> None:
        for name, value in options.items():
            self.world.conf.set_override(name, value, 'blockmirror')

    def occupy(self, **changes: object) -> Callable[[], None]:
        """Let another swap run; return what ends it."""
        row = record(state=SwapState.CANCELLING, **changes)
        self.journal.create(row)
        return lambda: self.journal.advance(row.id, SwapState.REVERTED)

    def assert_nobody_waits(self) -> None:
        self.assertEqual((), Tickets(self.journal.database).line())


class WaitTest(AdmissionTestCase):
    def test_it_waits_and_then_ends_well(self) -> None:
        self.world.later(20.5, self.occupy())
        outcome = self.world.run(budget_wait=Seconds(60.0))
        self.assertEqual(0, outcome.exit_code)
        self.assert_states('copying', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned')
        told = [(event.swap_id, event.detail) for event in self.world.events[:2]]
        self.assertEqual(
            [
                ('', 'waiting for its turn: 1 of 1 swaps of this host are running'),
                ('', 'planning anew'),
            ],
            told,
        )
        self.assertEqual(2, self.hypervisor.count('probe'))
        self.assert_nobody_waits()

    def test_it_does_not_wait_where_there_is_room(self) -> None:
        self.assertEqual(0, self.world.run(budget_wait=Seconds(60.0)).exit_code)
        self.assertEqual(1, self.hypervisor.count('probe'))

    def test_for_so_long_at_most(self) -> None:
        self.occupy()
        before = self.world.clock.now
        error = self.assertRaises(
            exception.BudgetExhausted, self.world.run, budget_wait=Seconds(30.0)
        )
        self.assertIn('after waiting for 30 s', error.message)
        self.assertIsNone(error.swap_id)
        self.assertEqual(30.0, self.world.clock.now - before)
        self.assertEqual(0, self.guest.count('block_copy'))
        self.assert_clean_on_source()
        self.assert_nobody_waits()

    def test_interrupted(self) -> None:
        self.occupy()
        for stop in (self.world.service.cancel_local, self.world.service.leave):
            self.world.later(3.0, stop)
            self.assertRaises(exception.Cancelled, self.world.run, budget_wait=Seconds(60.0))
            self.assert_clean_on_source()
            self.assert_nobody_waits()
        self.assertEqual(1, len(self.journal.records()))

    def test_what_was_checked_before_is_checked_again(self) -> None:
        """The guest has gone meanwhile, so that nothing is begun."""
        self.world.later(3.0, self.occupy())
        self.world.later(2.0, self.guest.die)
        error = self.assertRaises(exception.Refused, self.world.run, budget_wait=Seconds(60.0))
        self.assertNotIsInstance(error, exception.BudgetExhausted)
        self.assertEqual(1, len(self.journal.records()))
        self.assert_nobody_waits()

    def test_a_host_that_drains_meanwhile(self) -> None:
        self.occupy()
        self.world.later(3.0, lambda: self.journal.drain(True))
        self.assertRaises(exception.HostDraining, self.world.run, budget_wait=Seconds(60.0))
        self.assert_nobody_waits()


class CheckTest(AdmissionTestCase):
    def check_of(self, plan: Plan) -> Check:
        (found,) = (one for one in plan.checks if one.id == 'budget')
        return found

    def plan(self, wait: float = 0.0, *, places: int = 1, turn: int = 0) -> Plan:
        options = replace(self.world.request.options, budget_wait=Seconds(wait))
        request = replace(self.world.request, options=options, places=places, turn=turn)
        return self.world.service.plan(request)

    def test_refused_or_to_wait(self) -> None:
        self.occupy()
        self.assertFalse(self.check_of(self.plan()).passed)
        found = self.check_of(self.plan(60))
        self.assertTrue(found.passed)
        self.assertIn('1 of 1 swaps of this host are running; it waits for its turn', found.detail)
        self.assertIn('60 s at most', found.detail)

    def test_what_never_fits(self) -> None:
        found = self.check_of(self.plan(60, places=2))
        self.assertFalse(found.passed)
        self.assertEqual('raise the limit', found.fix)

    def test_nobody_overtakes_but_its_own_place_does_not_count(self) -> None:
        self.journal.check()
        tickets = Tickets(self.journal.database)
        with Turn(self.journal, Budget(Limit(1)), Control(), Seconds(60.0)) as turn:
            end = self.occupy()
            self.assertIsNone(turn.reserve([record()]))
            end()
            self.assertEqual(1, len(tickets.line()))
            self.assertFalse(self.check_of(self.plan()).passed)
            self.assertTrue(self.check_of(self.plan(turn=turn.number)).passed)


class ShareTest(AdmissionTestCase):
    """The copy begins with its part, follows what others do, and is taken up with it."""

    def setUp(self) -> None:
        super().setUp()
        self.set(max_concurrent_swaps=9, max_host_bandwidth=8 * MIB)

    def begun_with(self) -> list[int]:
        return [args[2] for name, args in self.guest.calls if name == 'block_copy']

    def speeds(self) -> list[int]:
        return [args[1] for name, args in self.guest.calls if name == 'set_speed']

    def test_begun_with_what_is_left(self) -> None:
        self.occupy(bandwidth=5 * MIB)
        self.world.run()
        self.assertEqual(3 * MIB, self.world.record().granted)
        self.assertEqual(([3 * MIB], []), (self.begun_with(), self.speeds()))

    def test_begun_with_its_own(self) -> None:
        self.world.run(bandwidth=BytesPerSecond(2 * MIB))
        self.assertEqual(([2 * MIB], []), (self.begun_with(), self.speeds()))
        self.assertEqual(2 * MIB, json.loads(self.world.record().options)['bandwidth'])

    def test_no_limit_of_bytes(self) -> None:
        self.set(max_host_bandwidth=0)
        self.world.run()
        self.assertEqual(([0], 0), (self.begun_with(), self.world.record().granted))

    def test_a_limit_that_is_lifted_before_it_is_taken_up(self) -> None:
        self.guest.ready_after = None
        self.world.later(5.0, self.world.service.leave)
        self.world.run(bandwidth=BytesPerSecond(2 * MIB))
        self.assertEqual(2 * MIB, self.world.record().granted)
        self.set(max_host_bandwidth=0)
        self.world.later(5.0, functools.partial(self._ask_for, 3 * MIB))
        self.world.later(10.0, self.guest.ready)
        self.world.service.recover(self.world.id)
        row = self.world.record()
        self.assertEqual((3 * MIB, 0, [3 * MIB]), (row.bandwidth, row.granted, self.speeds()))

    def test_its_own_without_a_limit(self) -> None:
        self.set(max_host_bandwidth=0)
        self.world.run(bandwidth=BytesPerSecond(2 * MIB))
        row = self.world.record()
        self.assertEqual((2 * MIB, 0), (row.bandwidth, row.granted))

    def test_while_the_destination_is_waited_for(self) -> None:
        """What it does not need then is for the others."""
        self.useFixture(fixtures.MockPatch('blockmirror_driver.swap.gate.FRESH', -1.0))
        silent = exception.DestinationSilent('it did not answer in time')
        self.hypervisor.fail('probe', None, *[silent] * 8)
        self.world.later(6.0, lambda: self.occupy(bandwidth=6 * MIB))
        self.assertEqual(0, self.world.run().exit_code)
        self.assertEqual(([8 * MIB], [2 * MIB]), (self.begun_with(), self.speeds()))

    def test_while_it_copies(self) -> None:
        self.guest.ready_after = 40.0
        self.world.later(10.0, lambda: self.world.later(10.0, self.occupy(bandwidth=6 * MIB)))
        self.assertEqual(0, self.world.run().exit_code)
        self.assertEqual([8 * MIB], self.begun_with())
        self.assertEqual([2 * MIB, 8 * MIB], self.speeds())

    def test_while_it_is_held(self) -> None:
        self.world.later(20.0, lambda: self.occupy(bandwidth=6 * MIB))
        self.world.later(40.0, lambda: self.world.service.request_pivot(self.world.id))
        self.assertEqual(0, self.world.run(hold=True).exit_code)
        self.assertEqual([2 * MIB], self.speeds())

    def test_another_tool_s_pivot_that_does_not_end(self) -> None:
        """Looking at what others move does not keep the timeout from coming."""
        self.world.later(5.0, lambda: self.guest.shows('pivot'))
        self.world.later(20.0, lambda: self.world.service.request_pivot(self.world.id))
        self.assertRaises(exception.StateUnknown, self.world.run, hold=True)
        self.assertLess(self.world.clock.now, 10_000)

    def test_what_an_operator_wants(self) -> None:
        self.guest.ready_after = 60.0
        for at, speed in ((10.0, 3 * MIB), (20.0, 0), (30.0, 99 * MIB)):
            self.world.later(at, functools.partial(self._ask_for, speed))
        self.world.run()
        self.assertEqual([3 * MIB, 8 * MIB], self.speeds())
        self.assertEqual(8 * MIB, self.world.record().bandwidth)
        self.assertIn(f'the budget leaves {8 * MIB} bytes/s', self.world.details())

    def _ask_for(self, speed: int) -> None:
        self.world.service.request_speed(self.world.id, speed)

    def test_taken_up_with_its_part(self) -> None:
        """Its job was left at more than is its part by now."""
        self.guest.ready_after = None
        self.world.later(5.0, self.world.service.leave)
        self.assertEqual(130, self.world.run().exit_code)
        self.assertEqual(8 * MIB, self.world.record().granted)
        left = self.world.id
        error = self.assertRaises(exception.BudgetExhausted, self._begin_another)
        self.assertIn(f'{8 * MIB} of {8 * MIB} bytes/s', str(error))
        self.journal.create(record(bandwidth=3 * MIB, state=SwapState.COPYING))
        self.world.later(10.0, self.guest.ready)
        (result,) = self.world.service.recover(left)
        self.assertEqual((SwapState.CLEANED, 0), (result.state, result.exit_code))
        self.assertEqual([5 * MIB], self.speeds())

    def _begin_another(self) -> None:
        limits = Budget(Limit(9, 8 * MIB))
        with Turn(self.journal, limits, Control(), clock=self.world.clock) as turn:
            turn.reserve([record()])
