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
"""A running swap's part of the budget of bytes/s: it gives way to others, and takes what is free.

Each swap does so itself, and the journal is all that they have in common. What it says of a swap
is never less than what its copy may move: more is written before it is set, and less after it.
So what is granted to all together never exceeds a limit that it was within before.
"""

from __future__ import annotations

from collections.abc import Callable

from oslo_log import log as logging

from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap import budget as budgets
from blockmirror_driver.swap import line, shares
from blockmirror_driver.swap.budget import Budget, Claim
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.tickets import Tickets

LOG = logging.getLogger(__name__)

#: Between two looks at the others, seconds.
EVERY = Seconds(2.5)
#: A rise that is smaller is not worth a call.
_WORTH = 1.05


class Sharing:
    """Of one swap. One thread uses it, the runner's.

    :param clock: monotonic seconds.
    """

    def __init__(
        self, journal: Journal, budget: Budget, swap_id: str, clock: Callable[[], float]
    ) -> None:
        self._journal = journal
        self._budget = budget
        self._swap_id = swap_id
        self._clock = clock
        self._looked = -EVERY
        self._in_force: int | None = None

    @property
    def counts(self) -> bool:
        """Whether there is anything to share."""
        return self._budget.counts_bytes

    def is_due(self) -> bool:
        """Whether it is time for a look. Cheap."""
        return self.counts and self._clock() - self._looked >= EVERY

    def put_off(self) -> None:
        """Let it not be time before long: there is no copy whose limit could be set."""
        self._looked = self._clock()

    def own(self, bandwidth: BytesPerSecond) -> BytesPerSecond:
        """Take a bandwidth of its own, as far as the others can give way; 0 shares again.

        Return what it is, bytes/s; it is in force after the next :meth:`look`.

        :raise JournalUnusable: nothing was changed.
        """
        with self._journal.transaction():
            mine, others = self._claims()
            if bandwidth and mine is not None:
                most = shares.spare(self._budget, others, mine)
                least = min(
                    one.least for one in (self._budget.host, self._budget.backend) if one.bandwidth
                )
                if most is not None:
                    bandwidth = BytesPerSecond(min(bandwidth, max(most, least)))
            self._journal.set_bandwidth(self._swap_id, bandwidth)
        return bandwidth

    def look(self, now: Callable[[], int | None], apply: Callable[[BytesPerSecond], None]) -> None:
        """Bring the copy's limit in line with what the others take; a failure is tried again.

        :param now: gives the limit of the copy, bytes/s; asked once.
        :param apply: sets it.
        :raise BlockmirrorError: by ``apply`` or the journal; what was granted still holds.
        """
        self._looked = self._clock()
        mine, others = self._claims()
        if mine is None:
            return  # it does not count any more, or not yet
        if self._in_force is None:
            self._in_force = now()
        called = line.called(self._budget, (*others, mine), Tickets(self._journal.database).line())
        wanted = shares.shares(self._budget, (*others, *called, mine))[-1]
        if not wanted:
            return  # no limit of bytes/s is of its backend
        if mine.granted and wanted >= mine.granted:
            granted = self._more(wanted) if wanted > mine.granted * _WORTH else mine.granted
            self._set(granted, apply)
        else:
            self._set(wanted, apply)
            self._journal.set_granted(self._swap_id, wanted)

    def _more(self, wanted: int) -> int:
        """Take what is free of what is wanted."""
        with self._journal.transaction():
            mine, others = self._claims()
            if mine is None:
                return wanted
            left = shares.free(self._budget, others, mine)
            granted = max(mine.granted, wanted if left is None else min(wanted, left))
            if granted != mine.granted:
                self._journal.set_granted(self._swap_id, granted)
        return granted

    def _set(self, granted: int, apply: Callable[[BytesPerSecond], None]) -> None:
        if granted == self._in_force:
            return
        apply(BytesPerSecond(granted))
        LOG.info('Swap %s: its part of the budget is %d bytes/s', self._swap_id, granted)
        self._in_force = granted

    def _claims(self) -> tuple[Claim | None, tuple[Claim, ...]]:
        found = budgets.claims(self._journal, self._budget)
        mine = found.pop(self._swap_id, None)
        return mine, tuple(found.values())
