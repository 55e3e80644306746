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
"""The limit follows what the guest's writes take."""

from __future__ import annotations

import testtools

from blockmirror_driver.mirror.throttle import FLOOR, Throttle
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.virt.counters import WriteCounters

MIB = 1 << 20
TARGET = Seconds(0.02)
NONE = BytesPerSecond(0)


class Storage:
    """Writes take longer the more the copy moves: 1 ms, and 1 ms more for each MiB/s."""

    def __init__(self, throttle: Throttle, writes: int = 50, can: int = 100 * MIB) -> None:
        self.throttle = throttle
        self.writes = writes
        self.can = can
        self.now = 0.0
        self.cur = 0
        self.counters = WriteCounters(0, 0.0)
        self.told: list[int] = []
        self.dirty = NONE
        self.base = 0.001

    def run(self, seconds: int) -> list[int]:
        """Feed it a reading each second; return the limits that it wanted."""
        self.told = []
        for _ in range(seconds):
            rate = min(self.can, self.throttle.speed or self.can)
            latency = self.base + 0.001 * rate / MIB
            self.now += 1.0
            self.cur += rate
            self.counters = WriteCounters(
                self.counters.writes + self.writes,
                self.counters.seconds + self.writes * latency,
            )
            speed = self.throttle.feed(self.now, self.counters, self.cur, self.dirty)
            if speed is not None:
                self.told.append(speed)
        return self.told


class TestThrottle(testtools.TestCase):
    def test_settles_where_the_target_is(self) -> None:
        """19 MiB/s make writes of 20 ms here; less than half of that would waste the storage."""
        throttle = Throttle(TARGET, NONE)
        storage = Storage(throttle)
        storage.run(30)
        for _ in range(20):
            storage.run(1)
            self.assertLess(throttle.speed, 25 * MIB)
            self.assertGreater(throttle.speed, 9 * MIB)

    def test_storage_that_is_not_saturated_is_left_alone(self) -> None:
        storage = Storage(Throttle(TARGET, NONE), can=10 * MIB)
        self.assertEqual([], storage.run(30))

    def test_a_guest_that_is_idle_is_no_reason(self) -> None:
        storage = Storage(Throttle(TARGET, NONE), writes=2)
        self.assertEqual([], storage.run(30))

    def test_never_below_the_floor(self) -> None:
        throttle = Throttle(Seconds(1e-9), NONE)
        told = Storage(throttle).run(60)
        self.assertGreaterEqual(min(told), FLOOR)
        self.assertLess(min(told), 1.1 * FLOOR)

    def test_a_target_that_can_not_be_met_is_held_against_what_can(self) -> None:
        """Writes take 12 ms without the copy here, and 1 ms more for each MiB/s of it."""
        throttle = Throttle(Seconds(0.010), NONE, BytesPerSecond(8 * MIB))
        storage = Storage(throttle)
        storage.base = 0.011
        storage.run(20)
        self.assertAlmostEqual(0.012, throttle.undisturbed, places=3)
        storage.run(40)
        # Half of that again is 18 ms, which 7 MiB/s make.
        self.assertGreater(throttle.speed, 3 * MIB)
        self.assertLess(throttle.speed, 9 * MIB)
        storage.base = 0.001
        storage.run(90)
        self.assertEqual(0.0, throttle.undisturbed)
        self.assertGreater(throttle.speed, 5 * MIB)

    def test_never_slower_than_the_guest_dirties(self) -> None:
        throttle = Throttle(Seconds(1e-9), NONE)
        storage = Storage(throttle)
        storage.dirty = BytesPerSecond(8 * MIB)
        storage.run(60)
        self.assertGreaterEqual(throttle.speed, 9 * MIB)

    def test_never_above_the_ceiling(self) -> None:
        ceiling = BytesPerSecond(4 * MIB)
        throttle = Throttle(TARGET, ceiling, ceiling)
        storage = Storage(throttle)
        self.assertEqual([], storage.run(20))
        throttle.set_ceiling(BytesPerSecond(2 * MIB))
        storage.run(20)
        self.assertEqual(2 * MIB, throttle.speed)

    def test_rises_again_when_the_guest_is_idle(self) -> None:
        throttle = Throttle(TARGET, NONE, BytesPerSecond(2 * MIB))
        storage = Storage(throttle, writes=0)
        told = storage.run(10)
        self.assertEqual(sorted(told), told)
        self.assertGreater(throttle.speed, 8 * MIB)

    def test_rises_fast_only_far_below_the_target(self) -> None:
        """The target is 20 ms, which 19 MiB/s make here."""
        for speed, rise in ((4, 2), (12, 1.25), (17, None)):
            throttle = Throttle(TARGET, NONE, BytesPerSecond(speed * MIB))
            told = Storage(throttle).run(2)
            self.assertEqual([] if rise is None else [int(speed * MIB * rise)], told)

    def test_readings_that_are_too_close_or_of_another_run(self) -> None:
        throttle = Throttle(Seconds(1e-9), NONE)
        for now, writes, cur in ((1.0, 10, 10), (1.5, 90, 20), (3.0, 5, 30), (4.0, 90, 1)):
            told = throttle.feed(now, WriteCounters(writes, writes * 1.0), cur, NONE)
            self.assertIsNone(told)
