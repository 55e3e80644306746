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
"""Medians, their intervals, and percentiles."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: What an interval should hold the median with.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median, and two of the values between which it lies.

    That of the sign test: nothing is assumed of how the values are distributed, but that they
    are independent. Of few values even the extremes hold the median with less than
    :data:`CONFIDENCE`; so ``confidence`` says with how much.

    :ivar count: of values
    """

    median: float
    low: float
    high: float
    confidence: float
    count: int

    def __str__(self) -> str:
        text = f'{number(self.median)} ({number(self.low)} to {number(self.high)})'
        return text if self.sure else f'{text}, {self.confidence:.0%}'

    @property
    def sure(self) -> bool:
        """Whether there were enough values."""
        return self.confidence >= CONFIDENCE

    def times(self, factor: float) -> Interval:
        """The same in another unit."""
        ends = (self.median * factor, self.low * factor, self.high * factor)
        return Interval(*ends, self.confidence, self.count)


def interval(values: Sequence[float]) -> Interval:
    """Return the median and the narrowest symmetric interval that holds it as it should.

    :raise ValueError: there are no values
    """
    if not values:
        raise ValueError('no values')
    ordered, count = sorted(values), len(values)
    left_out, confidence = 0, _confidence(count, 0)
    while left_out + 1 < count / 2 and _confidence(count, left_out + 1) >= CONFIDENCE:
        left_out += 1
        confidence = _confidence(count, left_out)
    low, high = ordered[left_out], ordered[count - 1 - left_out]
    return Interval(statistics.median(ordered), low, high, confidence, count)


def _confidence(count: int, left_out: int) -> float:
    """What the interval without so many values at either end holds the median with.

    It does not when at most that many of the values are on one side: a binomial's tails.
    """
    tail: float = sum(math.comb(count, k) for k in range(left_out + 1)) / 2**count
    return max(0.0, 1 - 2 * tail)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that `share` (0 to 1) of all do not exceed.

    :raise ValueError: there are no values
    """
    if not values:
        raise ValueError('no values')
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def number(value: float) -> str:
    """Three digits, or as many as there are before the point."""
    if value == 0 or not math.isfinite(value):
        return f'{value:g}'
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f'{value:.{digits}f}'
