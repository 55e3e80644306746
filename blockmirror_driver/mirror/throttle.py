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
"""How fast a copy may go so that the guest hardly notices: pure arithmetic on counters.

Storage that is saturated makes everybody wait, the guest's writes too. So the limit follows what
its writes take: above the target it is cut by a factor, below it is raised by a smaller one. A
fast cut and a slow rise settle, as they do where networks are congested. Far below the target, or
where nobody writes, the rise is fast, too: the copy begins slowly (:mod:`.tuning`).

Where even the slowest copy does not help it is not the copy that they wait for: then what they
take beside it is what the copy is held against.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.virt.counters import WriteCounters

#: Seconds between two judgements.
INTERVAL = Seconds(1.0)
#: No copy is made slower than that, in bytes/s: it would never end.
FLOOR = BytesPerSecond(1 << 20)
#: Nor slower than the guest dirties, by this factor.
_AHEAD = 1.25
_CUT, _DEEP_CUT, _RISE, _FAST_RISE = 0.7, 0.4, 1.25, 2.0
#: Of the target: what is worth a rise, and a fast one.
_CALM, _FAR = 0.8, 0.5
#: Fewer writes within an interval say nothing.
_FEWEST = 3
#: A change that is smaller is not worth a call.
_WORTH = 0.1
#: So many judgements in a row at the floor tell what the writes take without the copy, which is
#: believed for so many seconds; so much longer may they take with it.
_AT_FLOOR, _BELIEVED, _ALLOWED = 5, 60.0, 1.5


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    counters: WriteCounters
    cur: int


class Throttle:
    """The limit of one copy. One thread feeds it; it reads no clock.

    :param target: seconds that a write of the guest may take, on average.
    :param ceiling: bytes/s that the copy may move at most; 0 is unlimited.
    :param speed: the job's limit now.
    """

    def __init__(
        self, target: Seconds, ceiling: BytesPerSecond, speed: BytesPerSecond = BytesPerSecond(0)
    ) -> None:
        self._target = target
        self._ceiling = ceiling
        self._mark: _Mark | None = None
        self._at_floor: list[float] = []
        self._believed_until = 0.0
        #: What writes take without the copy, seconds, where that is more than the target; or 0.
        self.undisturbed = Seconds(0.0)
        #: The limit in force, bytes/s; 0 is none.
        self.speed = speed
        #: What a write took in the last interval, seconds; 0 when there were too few.
        self.latency = Seconds(0.0)

    def set_ceiling(self, ceiling: BytesPerSecond) -> None:
        """Take another limit from outside, which is in force already."""
        self._ceiling = self.speed = ceiling

    def keeps_below(self, ceiling: BytesPerSecond) -> bool:
        """Take another limit from outside if the one in force is within it; tell whether it is."""
        if not 0 < self.speed <= ceiling:
            return False
        self._ceiling = ceiling
        return True

    def feed(
        self, now: float, counters: WriteCounters, cur: int, dirty_rate: BytesPerSecond
    ) -> BytesPerSecond | None:
        """Take one reading; return another limit, or ``None`` to leave it.

        :param cur: bytes that the copy has moved.
        """
        mark = self._mark
        if mark is not None and now - mark.at < INTERVAL:
            return None
        self._mark = _Mark(now, counters, cur)
        if mark is None or cur < mark.cur or counters.writes < mark.counters.writes:
            return None  # the first, or of another run
        writes = counters.writes - mark.counters.writes
        spent = counters.seconds - mark.counters.seconds
        self.latency = Seconds(spent / writes if writes >= _FEWEST else 0.0)
        self._learn(now)
        rate = (cur - mark.cur) / (now - mark.at)
        wanted = self._wanted(rate, dirty_rate)
        if abs(wanted - self.speed) <= _WORTH * max(wanted, self.speed):
            return None
        self.speed = BytesPerSecond(int(wanted))
        return self.speed

    def _learn(self, now: float) -> None:
        """Take note of what writes take while next to nothing is copied."""
        if self.undisturbed and now >= self._believed_until:
            self.undisturbed = Seconds(0.0)
        if not 0 < self.speed <= (1 + _WORTH) * FLOOR or self.latency <= self._target:
            self._at_floor.clear()
            return
        self._at_floor.append(self.latency)
        if len(self._at_floor) >= _AT_FLOOR:
            self.undisturbed = Seconds(statistics.median(self._at_floor))
            self._believed_until = now + _BELIEVED
            self._at_floor.clear()

    def _wanted(self, rate: float, dirty_rate: float) -> float:
        target = max(self._target, _ALLOWED * self.undisturbed)
        if self.latency > target:
            cut = _DEEP_CUT if self.latency > 2 * target else _CUT
            base = min(self.speed, max(rate, FLOOR)) if self.speed else rate
            wanted = max(FLOOR, _AHEAD * dirty_rate, base * cut)
            return min(wanted, self._ceiling) if self._ceiling else wanted
        # A limit that does not bind any more says that something else does.
        if self.latency > _CALM * target or not self.speed or rate < self.speed / 2:
            return self.speed
        wanted = self.speed * (_FAST_RISE if self.latency < _FAR * target else _RISE)
        return min(wanted, self._ceiling) if self._ceiling else wanted
