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
"""What is still owed to others once a swap has ended: an outbox in the journal.

Whoever asked for a swap (Nova) has records to bring in line when the guest has switched, or when
it has not. Those steps are written down before the pivot is asked for, both for a guest that
will have switched and for one that will not, and are struck out one by one when they are done.
Whichever process comes across them later takes them up, so each step must bear being repeated:
it looks at what is so before it acts.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable
from dataclasses import dataclass

from blockmirror_driver.swap.database import Database
from blockmirror_driver.swap.states import SwapState

#: Seconds before a failed duty is due again, doubled with each attempt up to the last.
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 300.0


class Side(enum.Enum):
    """Which end of the swap a duty is for."""

    SWITCHED = 'switched'
    """The guest is on the destination."""

    KEPT = 'kept'
    """The guest is on the source."""


#: Which duties are due in a state. In all other states nobody can tell yet, and none is.
SIDES = {
    SwapState.PIVOTED: Side.SWITCHED,
    SwapState.VERIFIED: Side.SWITCHED,
    SwapState.CLEANED: Side.SWITCHED,
    SwapState.REVERTED: Side.KEPT,
    SwapState.FINISHED: Side.KEPT,
}


@dataclass(frozen=True, slots=True)
class Duty:
    """One step that is owed; times are seconds since the epoch.

    :ivar number: for :meth:`Duties.done` and :meth:`Duties.failed`
    :ivar name: what is to be done, in words of whoever owes it
    :ivar argument: what it needs to know; never a secret
    """

    number: int
    swap_id: str
    name: str
    argument: str
    side: Side
    attempts: int
    error: str
    due_at: float


class Duties:
    """The outbox of one host's journal. Any thread may call any method.

    :raise JournalUnusable: from every method; nothing has changed then.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def owe(self, swap_id: str, side: Side, steps: Iterable[tuple[str, str]]) -> None:
        """Write down steps (name, argument) in their order; those that are there stay as they are.

        Call it before what makes them due.
        """
        with self._db.write() as db:
            db.executemany(
                'INSERT OR IGNORE INTO duty (swap_id, side, name, argument, due_at)'
                ' VALUES (?, ?, ?, ?, 0)',
                [(swap_id, side.value, name, argument) for name, argument in steps],
            )

    def owed(self, swap_id: str | None = None) -> tuple[Duty, ...]:
        """Return what is not done of the side that the swap ended on, in order.

        :param swap_id: of this swap only; of all by default.
        """
        if not self._db.path.exists():
            return ()
        with self._db.read() as db:
            found = db.execute(
                'SELECT duty.number, duty.swap_id, duty.name, duty.argument, duty.side,'
                ' duty.attempts, duty.error, duty.due_at, swap.state'
                ' FROM duty JOIN swap ON swap.id = duty.swap_id'
                ' WHERE duty.done_at IS NULL AND (? IS NULL OR duty.swap_id = ?)'
                ' ORDER BY duty.number',
                (swap_id, swap_id),
            ).fetchall()
        return tuple(
            Duty(number, swap, name, argument, Side(side), attempts, error, due_at)
            for number, swap, name, argument, side, attempts, error, due_at, state in found
            if SIDES.get(SwapState(state)) is Side(side)
        )

    def done(self, number: int) -> None:
        """Strike a duty out."""
        with self._db.write() as db:
            db.execute(
                "UPDATE duty SET done_at = ?, error = '' WHERE number = ?", (time.time(), number)
            )

    def failed(self, duty: Duty, error: str) -> float:
        """Record that an attempt failed; return when the next is due, seconds since the epoch.

        :param error: the reason, without secrets.
        """
        # Some are tried for months: the power has to stay a number.
        wait: float = min(_FIRST_WAIT * 2.0 ** min(duty.attempts, 30), _LONGEST_WAIT)
        due_at = time.time() + wait
        with self._db.write() as db:
            db.execute(
                'UPDATE duty SET attempts = attempts + 1, error = ?, due_at = ? WHERE number = ?',
                (error, due_at, duty.number),
            )
        return due_at
