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
"""Waiting until a swap fits into the budget, and taking its place in it.

A swap that does not fit stands in the line of :mod:`.tickets` for as long as it may. Where only
bytes/s are short, the running swaps see it there and give way; see :mod:`.sharing`.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from oslo_log import log as logging

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap import budget as budgets
from blockmirror_driver.swap import line, shares
from blockmirror_driver.swap.budget import Budget, Claim
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.tickets import Ticket, Tickets

LOG = logging.getLogger(__name__)

#: Between two looks at who runs, seconds.
LOOK = Seconds(1.0)
#: Within so many seconds the others have given way; then what they leave has to do.
PATIENCE = Seconds(10.0)


@dataclass(frozen=True, slots=True)
class _View:
    """What stands in the way, if anything; else what may be moved, once the others gave way."""

    reason: str
    grants: tuple[int, ...] | None


class Turn:
    """Of one swap, or of several that begin together. One thread uses it.

    As a context manager it leaves the line at the end, whatever comes of it.

    :param wait: seconds that it may stand in line; 0: it is refused where it has to.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        journal: Journal,
        budget: Budget,
        control: Control,
        wait: Seconds = Seconds(0.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._tickets = Tickets(journal.database)
        self._budget = budget
        self._control = control
        self._wait = wait
        self._clock = clock
        self._began = clock()
        self._called_at: float | None = None
        self._wants: tuple[Claim, ...] = ()
        #: Not an event: a signal handler puts into it, and must not wait for a lock.
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        #: Its number in the line, 0 while it does not stand there.
        self.number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._control.attach(lambda: None)
        if not self.number:
            return
        try:
            self._tickets.remove(self.number)
        except exception.JournalUnusable as error:
            # It holds up others until this process is gone.
            LOG.warning('The place in the line can not be given up: %s', error)

    def reserve(self, records: Sequence[SwapRecord]) -> tuple[SwapRecord, ...] | None:
        """Write the first rows of all if they fit; ``None``: :meth:`wait` first.

        :return: the rows, with what each may move.
        :raise BudgetExhausted: they do not, and are not to wait, or have waited long enough.
        :raise DiskBusy: another swap of one of the disks has not ended.
        """
        self._journal.check()
        wants = tuple(
            replace(self._budget.claim(record), granted=0, kept=False) for record in records
        )
        with self._journal.transaction():
            view = self._look(wants)
            if view.grants is None:
                self._refuse_if_late(view, wants)
                self._stand(wants, [(record.domain_name, record.dev) for record in records])
                return None
            counts = self._budget.counts_bytes
            rows = tuple(
                replace(record, granted=granted if counts else 0)
                for record, granted in zip(records, view.grants, strict=True)
            )
            for row in rows:
                self._journal.create(row)
            if self.number:
                self._tickets.remove(self.number)
        self.number = 0
        return rows

    def wait(self, tell: Callable[[str], None]) -> None:
        """Return when it is its turn, or when something else is to be looked at.

        :param tell: is told what it waits for, each time that this changes.
        :raise BudgetExhausted: it has waited long enough; nothing was changed.
        :raise Cancelled: told to stop; nothing was changed.
        """
        self._control.attach(lambda: self._wakes.put(None))
        told = ''
        while True:
            if self._control.stop:
                raise exception.Cancelled(
                    'cancelled on request, while it waited for its turn; nothing was changed'
                )
            if self._journal.draining:
                return
            view = self._look(self._wants)
            if view.grants is not None:
                return
            self._refuse_if_late(view, self._wants)
            reason = view.reason or 'others give way to it'
            if reason != told:
                told = reason
                tell(f'waiting for its turn: {reason}')
            self._pause()

    def _stand(self, wants: tuple[Claim, ...], disks: Sequence[tuple[str, str]]) -> None:
        if not self.number:
            self.number = self._tickets.add(wants, disks)
        elif wants != self._wants:
            self._tickets.change(self.number, wants)
        self._wants = wants

    def _look(self, wants: tuple[Claim, ...]) -> _View:
        running = tuple(budgets.claims(self._journal, self._budget).values())
        ahead = before(self._tickets, self.number)
        reason, called = line.stand(self._budget, running, ahead, wants)
        if reason:
            self._called_at = None
            return _View(reason, None)
        now = self._clock()
        if self._called_at is None:
            self._called_at = now
        late = now - self._called_at >= PATIENCE
        return _View('', shares.grants(self._budget, running, called, wants, less=late))

    def _refuse_if_late(self, view: _View, wants: tuple[Claim, ...]) -> None:
        never = line.shortage(self._budget, (), wants)
        if never:
            raise exception.BudgetExhausted(never, hint='raise the limit')
        now = self._clock()
        may_wait = now - self._began < self._wait
        if view.reason:
            if not may_wait:
                raise exception.BudgetExhausted(self._told(view.reason))
        elif self._called_at is not None and now - self._called_at >= PATIENCE and not may_wait:
            raise exception.BudgetExhausted(self._told('other swaps have not given way'))

    def _told(self, reason: str) -> str:
        return f'{reason}, after waiting for {self._wait:g} s' if self._wait else reason

    def _pause(self) -> None:
        left = self._began + self._wait - self._clock()
        try:
            self._wakes.get(timeout=min(LOOK, left) if left > 0 else LOOK)
        except queue.Empty:
            return


def before(tickets: Tickets, number: int) -> tuple[Ticket, ...]:
    """Return those who came before a ticket of this number; 0 comes after all."""
    return tuple(one for one in tickets.line() if not number or one.number < number)
