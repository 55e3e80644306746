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
"""How often a copy is looked at, alone and among many."""

from __future__ import annotations

import fixtures

from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.mirror.states import JobState
from blockmirror_driver.mirror.turns import Turns
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds
from tests.unit.mirror.test_engine import EngineTest


class Other:
    """Another copy of the process."""


class TurnsTest(EngineTest):
    def setUp(self) -> None:
        super().setUp()
        self.turns = Turns()
        patch = fixtures.MonkeyPatch('blockmirror_driver.mirror.watch.TURNS', self.turns)
        patch.setUp()
        self.addCleanup(patch.cleanUp)
        self.others = [Other() for _number in range(31)]

    def crowd(self) -> None:
        """Let this be one of 32 copies."""
        for other in self.others:
            self.turns.enter(other)

    def copy_for(self, seconds: int, *, step: int = 1, until: int = 1000) -> tuple[int, int]:
        """Copy ``step`` of ``until`` bytes each second; return the looks and the readings."""
        self.mirror.start()
        for second in range(1, seconds + 1):
            cur = step * second
            self.domain.later(second - 0.1, lambda cur=cur: self.domain.moves(cur, until))
        self.domain.calls.clear()
        self.domain.later(seconds, self.becomes_ready)
        self.mirror.wait({JobState.READY}, look_every=None)
        return self.domain.count('job'), self.domain.count('live_disk')

    def test_one_alone_is_looked_at_each_second(self) -> None:
        looks, readings = self.copy_for(60)
        self.assertGreaterEqual(looks, 58)
        self.assertGreaterEqual(readings, 11)

    def test_one_of_many_is_looked_at_less(self) -> None:
        self.crowd()
        looks, readings = self.copy_for(60)
        self.assertLessEqual(looks, 25)
        self.assertLessEqual(readings, 4)

    def test_one_that_ends_does_not_count(self) -> None:
        self.crowd()
        self.others.clear()
        self.mirror.start()
        self.assertEqual(1, len(self.turns))
        self.mirror.close()
        self.assertEqual(0, len(self.turns))

    def test_near_the_end_a_reading_each_second_says_that_it_is_not_ready_yet(self) -> None:
        """So that READY tells of an answer of the destination that is no older than that."""
        for many in (False, True):
            if many:
                self.crowd()
            self.mirror = self.make()
            self.copy_for(30, step=10, until=300)
            age = self.clock() - self.mirror.answered_since
            self.assertLessEqual(age, 1.0, f'of many: {many}')
            self.domain.ends()

    def test_a_copy_that_is_over_as_soon_as_its_end_is_known_to_be_near(self) -> None:
        self.mirror.start()
        for moment, cur in ((0.4, 200), (1.4, 650), (2.1, 960)):
            self.domain.later(moment, lambda cur=cur: self.domain.moves(cur, 1000))
        self.domain.later(2.3, self.becomes_ready)
        self.mirror.wait({JobState.READY}, look_every=None)
        self.assertLessEqual(self.clock() - self.mirror.answered_since, 1.0)

    def test_a_cursor_that_libvirt_holds_back_takes_the_place_of_a_reading(self) -> None:
        """All is moved, and QEMU pauses to keep to a limit before it says READY."""
        self.crowd()
        self.make(bandwidth=BytesPerSecond(10), stall_after=Seconds(60.0))
        self.mirror.start()
        self.domain.later(1.5, lambda: self.domain.moves(100, 300))
        self.domain.later(3.5, lambda: self.domain.moves(299, 300))
        self.domain.later(40, self.becomes_ready)
        self.domain.calls.clear()
        self.mirror.wait({JobState.READY}, look_every=None)
        self.assertLessEqual(self.domain.count('live_disk'), 4)
        self.assertLessEqual(self.clock() - self.mirror.answered_since, 1.0)

    def test_a_copy_that_stands_still_is_looked_at_each_second(self) -> None:
        self.crowd()
        self.make(stall_after=Seconds(5.0))
        self.mirror.start()
        self.domain.later(90, self.becomes_ready)
        self.domain.calls.clear()
        self.mirror.wait({JobState.READY}, look_every=None)
        self.assertIn(JobState.STALLED, self.states())
        self.assertGreaterEqual(self.domain.count('job'), 80)


class ToGoTest(EngineTest):
    def test_a_limit_tells_how_long_a_copy_takes_still(self) -> None:
        progress = Progress(cur=Bytes(100), end=Bytes(1100))
        self.assertEqual(0.0, progress.to_go(0))
        self.assertEqual(100.0, progress.to_go(10))
        rated = Progress(cur=Bytes(100), end=Bytes(1100), eta=Seconds(105.0))
        self.assertEqual(105.0, rated.to_go(0))
        self.assertEqual(105.0, rated.to_go(10))

    def test_a_copy_that_jumps_within_its_limit_is_not_near_its_end(self) -> None:
        """QEMU moves a buffer at once and then pauses: the rate says too much for a moment."""
        progress = Progress(cur=Bytes(1000), end=Bytes(1100), eta=Seconds(1.0))
        turns = Turns()
        look = turns.next_look(progress, bandwidth=10, poll_interval=Seconds(5.0))
        self.assertFalse(look.near_end)
        look = turns.next_look(progress, bandwidth=0, poll_interval=Seconds(5.0))
        self.assertTrue(look.near_end)
