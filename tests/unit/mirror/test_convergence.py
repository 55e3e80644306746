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
"""Whether a copy gets anywhere."""

from __future__ import annotations

import unittest

from blockmirror_driver.mirror.convergence import Convergence
from blockmirror_driver.model import Bytes, Seconds


class ConvergenceTest(unittest.TestCase):
    def diverges(self, *readings: tuple[float, int, int], window: float = 10.0) -> list[bool]:
        """Whether it diverges after each reading of (time, moved, left)."""
        convergence = Convergence(Seconds(window))
        found = []
        for at, cur, left in readings:
            convergence.feed(at, Bytes(cur), Bytes(left))
            found.append(convergence.diverges)
        return found

    def test_a_copy_that_gains(self) -> None:
        self.assertEqual(
            [False, False, False], self.diverges((0, 0, 1000), (10, 100, 985), (20, 200, 970))
        )

    def test_a_race_that_is_lost(self) -> None:
        self.assertEqual(
            [False, False, True, True],
            self.diverges((0, 0, 50), (5, 50, 49), (10, 100, 48), (15, 150, 1)),
        )

    def test_it_may_be_won_later(self) -> None:
        self.assertEqual(
            [False, True, False], self.diverges((0, 0, 50), (10, 100, 50), (20, 200, 20))
        )

    def test_what_stands_still_is_a_stall(self) -> None:
        self.assertEqual([False, False], self.diverges((0, 7, 50), (10, 7, 50)))

    def test_another_run_of_the_job_begins_anew(self) -> None:
        self.assertEqual(
            [False, True, False, False],
            self.diverges((0, 0, 50), (10, 100, 50), (11, 5, 50), (20, 90, 50)),
        )

    def test_restart(self) -> None:
        convergence = Convergence(Seconds(1.0))
        convergence.feed(0.0, Bytes(0), Bytes(9))
        convergence.feed(1.0, Bytes(9), Bytes(9))
        self.assertTrue(convergence.diverges)
        convergence.restart()
        self.assertFalse(convergence.diverges)
        convergence.feed(2.0, Bytes(9), Bytes(9))
        self.assertFalse(convergence.diverges)
