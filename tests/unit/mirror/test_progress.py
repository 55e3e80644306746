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
"""Arithmetic on a cursor."""

from __future__ import annotations

import unittest

from hypothesis import example, given
from hypothesis import strategies as st

from blockmirror_driver.mirror.progress import Progress, ProgressMeter
from blockmirror_driver.model import Bytes, Seconds
from tests.unit.mirror.pieces import job


def feed(meter: ProgressMeter, *readings: tuple[float, int, int]) -> Progress:
    progress = meter.progress
    for at, cur, end in readings:
        progress = meter.feed(Seconds(at), job(cur, end))
    return progress


class Rates(unittest.TestCase):
    """Bytes per second, and what is left."""

    def test_a_steady_copy(self) -> None:
        """10 bytes/s, 80 left: 8 seconds."""
        progress = feed(ProgressMeter(), (0, 0, 100), (1, 10, 100), (2, 20, 100))
        self.assertEqual((progress.rate, progress.dirty_rate, progress.eta), (10, 0, 8.0))
        self.assertEqual((progress.left, progress.fraction), (80, 0.2))
        self.assertTrue(progress.converges)

    def test_a_writing_guest(self) -> None:
        """The end runs away at 5 bytes/s: the copy nears it at 5."""
        progress = feed(ProgressMeter(), (0, 0, 100), (2, 20, 110))
        self.assertEqual((progress.rate, progress.dirty_rate, progress.eta), (10, 5, 18.0))

    def test_a_guest_that_writes_as_fast(self) -> None:
        """There is no end in sight, and no number for it."""
        progress = feed(ProgressMeter(), (0, 0, 100), (2, 20, 120))
        self.assertIsNone(progress.eta)
        self.assertFalse(progress.converges)

    def test_only_the_window_counts(self) -> None:
        """A fast start is forgotten after ten seconds."""
        readings = [(float(t), 1000 + t, 9999) for t in range(1, 20)]
        progress = feed(ProgressMeter(), (0, 0, 9999), *readings)
        self.assertEqual(progress.rate, 1)

    def test_the_end_before_qemu_knows_it(self) -> None:
        """0 of 0, and libvirt's 0 of 1, are no size that the guest made grow."""
        for unknown in (0, 1):
            progress = feed(ProgressMeter(), (0, 0, unknown), (1, 0, 100), (2, 10, 100))
            self.assertEqual((progress.dirty_rate, progress.rate), (0, 10))

    def test_a_new_speed(self) -> None:
        """What was moved stays, the old rate goes."""
        meter = ProgressMeter()
        feed(meter, (0, 0, 100), (1, 50, 100))
        meter.restart()
        self.assertEqual((meter.progress.cur, meter.progress.rate), (50, 0))
        self.assertEqual(feed(meter, (2, 52, 100), (3, 54, 100)).rate, 2)


class Stillness(unittest.TestCase):
    """How long nothing was moved."""

    def test_a_cursor_that_stands(self) -> None:
        """Counted from its last movement, and over when it moves again."""
        meter = ProgressMeter()
        self.assertEqual(feed(meter, (0, 0, 100), (1, 10, 100), (9, 10, 100)).stalled_for, 8)
        self.assertEqual(feed(meter, (10, 11, 100)).stalled_for, 0)

    def test_a_growing_end_is_no_movement(self) -> None:
        """The guest goes on writing while the destination hangs."""
        self.assertEqual(feed(ProgressMeter(), (0, 10, 100), (9, 10, 200)).stalled_for, 9)

    def test_a_cursor_at_the_end(self) -> None:
        """There is nothing to move: an idle guest on a ready copy."""
        self.assertEqual(feed(ProgressMeter(), (0, 100, 100), (9, 100, 100)).stalled_for, 0)

    def test_a_job_that_never_gets_going(self) -> None:
        """0 of 0 is not "at the end"."""
        self.assertEqual(feed(ProgressMeter(), (0, 0, 0), (9, 0, 0)).stalled_for, 9)

    def test_another_run(self) -> None:
        """A cursor that went back starts anew."""
        progress = feed(ProgressMeter(), (0, 90, 100), (9, 90, 100), (10, 5, 100))
        self.assertEqual((progress.stalled_for, progress.rate), (0, 0))


class Anything(unittest.TestCase):
    """Whatever the hypervisor says."""

    @given(
        st.lists(
            st.tuples(st.floats(0, 1e6), st.integers(0, 1 << 62), st.integers(0, 1 << 62)),
            max_size=30,
        )
    )
    @example([(0.0, 0, 0), (1e-308, 2, 0)])
    def test_never_nonsense(self, readings: list[tuple[float, int, int]]) -> None:
        """No negative number, no fraction above one, no error, even if time goes back."""
        meter = ProgressMeter()
        for reading in readings:
            progress = feed(meter, reading)
            self.assertGreaterEqual(progress.rate, 0)
            self.assertGreaterEqual(progress.dirty_rate, 0)
            self.assertGreaterEqual(progress.stalled_for, 0)
            self.assertGreaterEqual(progress.left, 0)
            self.assertTrue(0 <= progress.fraction <= 1)
            self.assertTrue(progress.eta is None or progress.eta >= 0)

    def test_nothing_known(self) -> None:
        """The progress of no reading at all."""
        self.assertEqual((Progress().fraction, Progress().left), (0, Bytes(0)))
