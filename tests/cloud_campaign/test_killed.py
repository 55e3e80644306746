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
#: Killed there no block job can have begun, so that the volume stays where it is.
_STAYS = frozenset(
    f'{when}:{state}' for when in ('before', 'after') for state in ('planned', 'prepared')
) | {'before:copying', 'after:copying'}
_SEED, _MOMENTS = 20, 10


class KilledTest(InterruptedTestCase):
    """After the restart every volume is in use, attached once, with all that was written."""

    def _killed(self, where: str) -> None:
        self.doom(where)
        server, volume, dev = self.moving()
        self.await_death(where)
        server.wait_acked(20)
        self.restart()
        settled = self.assert_settled(server, volume, dev)
        self.assertEqual('rbd1' if where in _STAYS else 'rbd2', settled.backend)


class MomentsTest(InterruptedTestCase):
    """Killed at moments that are drawn from the time that a retype takes undisturbed."""

    def test_moments(self) -> None:
        begun = time.monotonic()
        server, volume, dev = self.moving()
        volume = self.api.wait_moved(volume.id)
        span = time.monotonic() - begun
        draw = random.Random(_SEED)
        for _ in range(_MOMENTS):
            moment = draw.uniform(0, span)
            self.writing(server, dev)
            compute = self.compute.identity
            assert compute is not None
            self.api.retype(volume, 'rbd1' if volume.backend == 'rbd2' else 'rbd2')
            self.assertFalse(compute.wait_dead(moment))
            self.compute.kill()
            state = self.state(server)
            self.restart()
            volume = self.assert_settled(server, volume, dev)
            print(
                f'killed {moment:.2f} s of {span:.2f} s after the request, the newest swap '
                f'{state}: the move ended in {volume.migration_status}',
                flush=True,
            )


class CoverageTest(testtools.TestCase):
    def test_each_state_is_killed_in_or_has_a_reason(self) -> None:
        self.assertEqual({state.value for state in SwapState}, {*_FORWARD, *_ELSEWHERE})


def _add(where: str) -> None:
    def test(self: KilledTest) -> None:
        self._killed(where)

    test.__doc__ = f'Killed {where.replace(":", " ")}.'
    setattr(KilledTest, 'test_' + where.replace(':', '_').replace('-', '_'), test)


for _when in ('before', 'after'):
    for _point in (*_FORWARD, *duties.SWITCHED):
        _add(f'{_when}:{_point}')
