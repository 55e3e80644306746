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
"""How often a copy is looked at: the more copies a process watches, the less often each.

Events tell what happens, and looking is for what they leave out: how far a copy is, that it
stands still, and what was missed. So it need not cost more for many copies than for a few.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass

from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Seconds

#: Seconds between two looks at whatever nobody can be patient about.
IMPATIENCE = Seconds(1.0)
#: A copy that has so many seconds to go at most is near its end.
NEAR_END = 2.0
#: All copies together are looked at this often, and read (seconds).
LOOK_EACH, READ_EACH = 0.25, 1.0
#: However many they are, each is looked at and read once in so many ``poll_interval``.
LOOK_WITHIN, READ_WITHIN = 2, 6


@dataclass(frozen=True, slots=True)
class Look:
    """The next look at a cursor: when, and whether the copy is near its end then."""

    after: Seconds
    near_end: bool


class Turns:
    """The copies that take turns. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._copies: weakref.WeakSet[object] = weakref.WeakSet()

    def enter(self, copy: object) -> None:
        """Count a copy from now on, once."""
        with self._lock:
            self._copies.add(copy)

    def leave(self, copy: object) -> None:
        """Count it no more; it may never have been."""
        with self._lock:
            self._copies.discard(copy)

    def __len__(self) -> int:
        with self._lock:
            return len(self._copies)

    def next_look(self, progress: Progress, *, bandwidth: int, poll_interval: Seconds) -> Look:
        """Say when to look at a copy that moves: in a second where nothing tells of its end.

        :param bandwidth: its limit, bytes/s; 0: none.
        """
        longest = min(LOOK_EACH * len(self), LOOK_WITHIN * poll_interval)
        to_go = progress.to_go(bandwidth)
        after = max(IMPATIENCE, min(longest, to_go / 2))
        is_known = progress.eta is not None
        return Look(Seconds(after), is_known and to_go - after <= NEAR_END)

    def between_readings(self, poll_interval: Seconds) -> Seconds:
        """Return how far apart the slow readings of one copy are."""
        apart = min(READ_EACH * len(self), READ_WITHIN * poll_interval)
        return Seconds(max(poll_interval, apart))


#: Of this process.
TURNS = Turns()
