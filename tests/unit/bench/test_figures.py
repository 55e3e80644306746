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

import testtools

from tests.bench.figures import interval, number, percentile


class FiguresTest(testtools.TestCase):
    def test_the_median_lies_in_its_interval(self) -> None:
        for values in ([1.0], [1.0, 2.0], [3.0, 1.0, 2.0, 10.0, 2.5]):
            found = interval(values)
            self.assertTrue(min(values) <= found.low <= found.median <= found.high <= max(values))

    def test_the_interval_is_that_of_the_sign_test(self) -> None:
        """Ranks as tables of the sign test have them for 95 %."""
        for count, low, high in ((6, 1, 6), (8, 1, 8), (9, 2, 8), (15, 4, 12), (20, 6, 15)):
            found = interval([float(rank) for rank in range(1, count + 1)])
            self.assertEqual((low, high), (found.low, found.high))
            self.assertTrue(found.sure)

    def test_too_few_values_say_how_sure_they_are(self) -> None:
        found = interval([1.0, 2.0, 3.0])
        self.assertEqual((0.75, False), (found.confidence, found.sure))
        self.assertEqual('2.00 (1.00 to 3.00), 75%', str(found))
        self.assertEqual(0.0, interval([1.0]).confidence)

    def test_another_unit(self) -> None:
        found = interval([0.001, 0.002, 0.003]).times(1000)
        self.assertEqual((2.0, 1.0, 3.0, 3), (found.median, found.low, found.high, found.count))

    def test_nothing_was_measured(self) -> None:
        self.assertRaises(ValueError, interval, [])
        self.assertRaises(ValueError, percentile, [], 0.5)

    def test_percentiles(self) -> None:
        values = [float(value) for value in range(100, 0, -1)]
        self.assertEqual(95.0, percentile(values, 0.95))
        self.assertEqual((1.0, 100.0), (percentile(values, 0.0), percentile(values, 1.0)))

    def test_three_digits(self) -> None:
        for value, shown in ((0.0, '0'), (0.01234, '0.0123'), (12.34, '12.3'), (1234.5, '1234')):
            self.assertEqual(shown, number(value))
