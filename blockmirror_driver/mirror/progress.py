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
"""How far a copy is, how fast, and when it may be done: pure arithmetic on a cursor."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds

if TYPE_CHECKING:
    from blockmirror_driver.virt.domain import JobInfo

#: Rates are means over the readings of this many seconds.
WINDOW = Seconds(10.0)


#: Seconds; between readings that are closer no rate can be told, nor would it be finite.
_SHORTEST = 1e-6


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at the cursor of a job.

    ``cur`` of ``end`` bytes were moved. ``end`` is not the size of the disk: it grows
    with each write of the guest to a part that was already copied, at ``dirty_rate``.
    ``rate`` is what the copy moves (both bytes/s, means of the last :data:`WINDOW`).
    ``eta`` is ``None`` when nothing moves, or when the guest dirties as fast as the copy
    moves. ``stalled_for`` is how long (seconds) there was something left to move and
    the cursor stood still.
    """

    cur: Bytes = Bytes(0)
    end: Bytes = Bytes(0)
    rate: BytesPerSecond = BytesPerSecond(0)
    dirty_rate: BytesPerSecond = BytesPerSecond(0)
    eta: Seconds | None = None
    stalled_for: Seconds = Seconds(0.0)

    @property
    def left(self) -> Bytes:
        """Bytes that were still to be moved at that look."""
        return Bytes(max(0, self.end - self.cur))

    @property
    def fraction(self) -> float:
        """Done, from 0 to 1; 0 while the size is not known."""
        return min(1.0, self.cur / self.end) if self.end > 0 else 0.0

    def to_go(self, bandwidth: int) -> Seconds:
        """Return how long the copy takes still, by its rate and its limit; 0: not known.

        :param bandwidth: its limit, bytes/s; 0: none.
        """
        eta = self.eta or Seconds(0.0)
        return Seconds(max(eta, self.left / bandwidth)) if bandwidth else eta

    @property
    def converges(self) -> bool:
        """Whether the copy moves more than the guest dirties."""
        return self.rate > self.dirty_rate


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    cur: int
    end: int


class ProgressMeter:
    """Turns readings of a job's cursor into :class:`Progress`. Pure: it reads no clock.

    One thread feeds it. A reading whose cursor is behind the last one belongs to another
    run of the job, and starts the measurement anew.
    """

    def __init__(self, window: Seconds = WINDOW) -> None:
        self._window = window
        self._samples: deque[_Sample] = deque()
        self._still_since: float | None = None
        self.progress = Progress()

    def restart(self) -> None:
        """Forget rates and stillness, for example since the allowed speed has changed.

        What was moved so far stays.
        """
        self._samples.clear()
        self._still_since = None
        self.progress = Progress(self.progress.cur, self.progress.end)

    def feed(self, now: Seconds, job: JobInfo) -> Progress:
        """Take one reading at ``now`` (seconds of any monotonic clock)."""
        last = self._samples[-1] if self._samples else None
        if last is not None and (job.cur < last.cur or now < last.at):
            self.restart()
            last = None
        self._note_stillness(now, job, last)
        # Before QEMU has looked at the source libvirt says 0 of 0, or 0 of 1; the real
        # end which follows is no writing of the guest.
        if last is not None and last.end <= 1 < job.end:
            self._samples.clear()
        self._samples.append(_Sample(now, job.cur, job.end))
        while len(self._samples) > 2 and self._samples[1].at <= now - self._window:
            self._samples.popleft()
        self.progress = self._measure(now, job)
        return self.progress

    def _note_stillness(self, now: Seconds, job: JobInfo, last: _Sample | None) -> None:
        moved = last is not None and job.cur > last.cur
        # A cursor at the end has nothing to move, as long as the end is known.
        arrived = job.end > 1 and job.cur >= job.end
        if moved or arrived or self._still_since is None:
            self._still_since = now

    def _measure(self, now: Seconds, job: JobInfo) -> Progress:
        first, last = self._samples[0], self._samples[-1]
        span = last.at - first.at
        rate = (last.cur - first.cur) / span if span >= _SHORTEST else 0.0
        dirty = max(0, last.end - first.end) / span if span >= _SHORTEST else 0.0
        left = max(0, job.end - job.cur)
        net = rate - dirty
        eta = Seconds(left / net) if net > 0 and job.end > 1 else None
        still = now - self._still_since if self._still_since is not None else 0.0
        return Progress(
            cur=Bytes(job.cur),
            end=Bytes(job.end),
            rate=BytesPerSecond(int(rate)),
            dirty_rate=BytesPerSecond(int(dirty)),
            eta=eta,
            stalled_for=Seconds(still),
        )
