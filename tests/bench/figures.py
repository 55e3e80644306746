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
"""Medians, intervals and ratios of interleaved measurements."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Draws of the bootstrap; enough that the ends of the interval do not move in the second digit.
_DRAWS = 4000
_SEED = 7
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A median and where it lies with 95 % confidence (percentile bootstrap)."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f'{self.median:.2f} ({self.low:.2f} to {self.high:.2f})'


def interval(values: Sequence[float]) -> Interval:
    """Return the median and its interval.

    :raise ValueError: there are no values
    """
    if not values:
        raise ValueError('no values')
    draw = random.Random(_SEED)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(_DRAWS))
    cut = int(_DRAWS * (1 - _CONFIDENCE) / 2)
    return Interval(statistics.median(values), medians[cut], medians[-cut - 1])


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Our figure over theirs, round by round: what was measured side by side is compared.

    :raise ValueError: they were not measured in the same rounds
    """
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]
