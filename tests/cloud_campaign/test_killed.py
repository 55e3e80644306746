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
"""P6 on a real cloud: nova-compute is killed at each step of a retype, and at moments drawn."""

from __future__ import annotations

import random
import time

import testtools

from blockmirror_driver.nova import duties
from blockmirror_driver.swap.states import SwapState
from tests.cloud.interrupted import InterruptedTestCase

#: States that a retype without trouble is in.
_FORWARD = (
    'planned',
    'prepared',
    'copying',
    'ready',
    'pivoting',
    'pivoted',
    'verified',
    'cleaned',
)
_ELSEWHERE = {
    'held': 'on request of an operator',
    'cancelling': 'on request of an operator',
    'reverted': 'where each test ends whose copy had not begun',
    'finished': 'a copy without a pivot, which Nova does not ask for',
    'unknown': 'nothing is done in it',
}
#: Where it is killed, and whether the move then succeeds: it does once the copy may run. After a
#: duty means that Cinder has done it and the answer is lost.
_STATES = {
    'before:planned': 'error',
    'after:planned': 'error',
    'after:prepared': 'error',
    'after:copying': 'error',
    'before:ready': 'success',
    **dict.fromkeys(
        ('after:ready', 'after:pivoting', 'before:pivoted', 'after:pivoted', 'after:verified'),
        'success',
    ),
}
_DUTIES = [f'{when}:{duty}' for duty in duties.SWITCHED for when in ('before', 'after')]
_SEED, _MOMENTS = 20, 10


class KilledTest(InterruptedTestCase):
    """After the restart every volume is in use, attached once, with all that was written."""

    def setUp(self) -> None:
        super().setUp()
        self.guest = self.server()
        self.moved, self.dev = self.attached(self.guest, 'rbd1')

    def _move(self) -> None:
        self.writing(self.guest, self.dev)
        self.api.retype(self.moved, 'rbd1' if self.moved.backend == 'rbd2' else 'rbd2')

    def _killed(self, where: str) -> str:
        """Kill nova-compute there; return how the move has ended after its restart."""
        self.doom(where)
        self._move()
        self.await_death(where)
        self.guest.wait_acked(20)
        self.restart()
        self.moved = self.assert_settled(self.guest, self.moved, self.dev)
        print(f'killed {where}: the move ended in {self.moved.migration_status}', flush=True)
        return str(self.moved.migration_status)

    def test_each_state(self) -> None:
        found = {where: self._killed(where) for where in _STATES}
        self.assertEqual(_STATES, found)

    def test_each_duty(self) -> None:
        """Cleaned is right before the first of them."""
        found = {where: self._killed(where) for where in ('after:cleaned', *_DUTIES)}
        self.assertEqual({'success'}, {*found.values()})

    def test_moments(self) -> None:
        """At moments that are drawn from the time that a retype takes undisturbed."""
        begun = time.monotonic()
        self._move()
        self.api.wait_moved(self.moved.id)
        span = time.monotonic() - begun
        self.moved = self.assert_settled(self.guest, self.moved, self.dev)
        draw = random.Random(_SEED)
        for _ in range(_MOMENTS):
            moment = draw.uniform(0, span)
            compute = self.compute.identity
            assert compute is not None
            self._move()
            self.assertFalse(compute.wait_dead(moment))
            self.compute.kill()
            state = self.state(self.guest)
            self.restart()
            self.moved = self.assert_settled(self.guest, self.moved, self.dev)
            print(
                f'killed {moment:.2f} s of {span:.2f} s after the request, the newest swap '
                f'{state}: the move ended in {self.moved.migration_status}',
                flush=True,
            )


class CoverageTest(testtools.TestCase):
    def test_each_state_is_killed_in_or_has_a_reason(self) -> None:
        self.assertEqual({state.value for state in SwapState}, {*_FORWARD, *_ELSEWHERE})
        reached = {where.partition(':')[2] for where in _STATES} | {'cleaned'}
        self.assertEqual({*_FORWARD}, reached)
