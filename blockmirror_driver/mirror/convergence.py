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
"""Whether a copy gets anywhere: pure arithmetic on a cursor.

A copy whose guest dirties as fast as it is copied hovers right before its end, and a rate that
is a bit higher for a moment means nothing. So it is judged by whole windows of time: of what
was moved within one, how much was gained?
"""

from __future__ import annotations

from dataclasses import dataclass

from blockmirror_driver.model import Bytes, Seconds

#: Of what is moved within a window at least this share has to be gained on the guest.
LEAST_GAIN = 0.1


@dataclass(frozen=True, slots=True)
class _Mark:
    at: float
    cur: int
    left: int


class Convergence:
    """Judges one copy. One thread feeds it; it reads no clock.

    :param window: seconds
    """

    def __init__(self, window: Seconds) -> None:
        self._window = window
        self._mark: _Mark | None = None
        #: Whether the last whole window gained next to nothing.
        self.diverges = False

    def restart(self) -> None:
        """Begin anew, for example since the allowed speed has changed."""
        self._mark = None
        self.diverges = False

    def feed(self, now: float, cur: Bytes, left: Bytes) -> None:
        """Take one reading: ``cur`` bytes moved, ``left`` bytes to move."""
        mark = self._mark
        if mark is None or cur < mark.cur:
            self.diverges = False
            self._mark = _Mark(now, cur, left)
        elif now - mark.at >= self._window:
            moved = cur - mark.cur
            # Standing still is a stall, not a race that is lost.
            self.diverges = moved > 0 and left > 0 and mark.left - left < LEAST_GAIN * moved
            self._mark = _Mark(now, cur, left)
