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
"""The arithmetic of the benchmark."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import testtools

from tests.bench.cases import Case, Sample
from tests.bench.figures import interval, ratios
from tests.bench.report import Report

FULL = Case('nfs', 'rbd', 'full', False, 256 << 20)
WRITES = Case('nfs', 'rbd', 'full', True, 256 << 20)


class FiguresTest(testtools.TestCase):
    def test_the_median_lies_in_its_interval(self) -> None:
        for values in ([1.0], [1.0, 2.0], [3.0, 1.0, 2.0, 10.0, 2.5]):
            found = interval(values)
            self.assertTrue(min(values) <= found.low <= found.median <= found.high <= max(values))

    def test_more_rounds_tell_more(self) -> None:
        few = interval([1.0, 2.0, 3.0, 4.0, 5.0])
        many = interval([1.0, 2.0, 3.0, 4.0, 5.0] * 20)
        self.assertEqual(few.median, many.median)
        self.assertLess(many.high - many.low, few.high - few.low)

    def test_the_same_values_give_the_same_interval(self) -> None:
        values = [1.5, 1.1, 9.0, 1.2]
        self.assertEqual(interval(values), interval(values))

    def test_nothing_was_measured(self) -> None:
        self.assertRaises(ValueError, interval, [])

    def test_rounds_are_compared_with_themselves(self) -> None:
        """A round on a machine that was twice as slow says the same."""
        self.assertEqual([0.5, 0.5], ratios([1.0, 2.0], [2.0, 4.0]))
        self.assertRaises(ValueError, ratios, [1.0], [1.0, 2.0])


def sample(case: Case, by: str, number: int, seconds: float) -> Sample:
    return Sample(case, by, number, seconds, 1 << 20)


class ReportTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        samples = [
            sample(FULL, by, number, seconds * (number + 1))
            for number in range(3)
            for by, seconds in (('qemu-img', 1.0), ('virsh', 4.0), ('blockmirror', 2.0))
        ]
        for by, longest in (('virsh', 90000), ('blockmirror', 30000)):
            one = sample(WRITES, by, 0, 2.0)
            one.longest_us, one.p999_us, one.idle_p999_us, one.writes = longest, 8000, 4000, 500
            samples.append(one)
        samples[2].request_s, samples[2].pivot_s = 0.004, 0.020
        self.report = Report(samples, {'rounds': 3})

    def test_ratios(self) -> None:
        of_virsh, of_limit = self.report.ratio(FULL, 'virsh'), self.report.ratio(FULL, 'qemu-img')
        assert of_virsh is not None
        assert of_limit is not None
        self.assertEqual((0.5, 2.0), (of_virsh.median, of_limit.median))

    def test_the_limit_has_no_guest_that_writes(self) -> None:
        self.assertIsNone(self.report.ratio(WRITES, 'qemu-img'))

    def test_the_tables(self) -> None:
        text = self.report.text()
        for expected in (
            'nfs to rbd, full, guest idle, 256 MiB',
            '0.50 (0.50 to 0.50)',
            '2.00 (2.00 to 2.00)',
            '90.0',
            '30.0',
            '250',
            'READY to the request for the pivot: 4.00',
            'Request for the pivot to its end: 20.00',
        ):
            self.assertIn(expected, text)

    def test_written(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.report.write(Path(folder))
            told = json.loads((Path(folder) / 'bench.json').read_text())
            self.assertEqual(11, len(told['samples']))
            self.assertEqual(self.report.text(), (Path(folder) / 'bench.rst').read_text())
