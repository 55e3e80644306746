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
"""The outbox of the journal: what is owed once a swap has ended, and to whom it is shown."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace

from blockmirror_driver.swap import rows
from blockmirror_driver.swap.duties import Side
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.records import record
from tests.unit.swap.test_journal import JournalTestCase

FORWARD = [('disconnect', '{"volume": "a"}'), ('complete', '{}')]
BACKWARD = [('release', '{}')]


class DutiesTest(JournalTestCase):
    def owing(self, state: SwapState) -> str:
        swap = record(state=state)
        self.journal.create(swap)
        self.journal.duties.owe(swap.id, Side.SWITCHED, FORWARD)
        self.journal.duties.owe(swap.id, Side.KEPT, BACKWARD)
        return swap.id

    def names(self, swap_id: str | None = None) -> list[str]:
        return [duty.name for duty in self.journal.duties.owed(swap_id)]

    def test_an_absent_journal_owes_nothing_and_stays_absent(self) -> None:
        self.assertEqual((), self.journal.duties.owed())
        self.assertFalse(self.journal.path.parent.exists())

    def test_each_state_makes_one_side_due_or_none(self) -> None:
        due = {
            SwapState.PIVOTED: ['disconnect', 'complete'],
            SwapState.VERIFIED: ['disconnect', 'complete'],
            SwapState.CLEANED: ['disconnect', 'complete'],
            SwapState.REVERTED: ['release'],
            SwapState.FINISHED: ['release'],
        }
        for state in SwapState:
            self.assertEqual(due.get(state, []), self.names(self.owing(state)), state.value)

    def test_owing_twice_is_owing_once(self) -> None:
        swap_id = self.owing(SwapState.CLEANED)
        first = self.journal.duties.owed(swap_id)[0]
        self.journal.duties.done(first.number)
        self.journal.duties.owe(swap_id, Side.SWITCHED, FORWARD)
        self.assertEqual(['complete'], self.names(swap_id))

    def test_what_failed_is_due_later_each_time(self) -> None:
        swap_id = self.owing(SwapState.REVERTED)
        waits = []
        for _ in range(12):
            duty = self.journal.duties.owed(swap_id)[0]
            before = time.time()
            due = self.journal.duties.failed(duty, 'Cinder is away')
            waits.append(round(due - before))
        self.assertEqual([2, 4, 8, 16], waits[:4])
        self.assertEqual(300, waits[-1])
        duty = self.journal.duties.owed(swap_id)[0]
        self.assertEqual((12, 'Cinder is away'), (duty.attempts, duty.error))

    def test_one_that_fails_for_ever(self) -> None:
        """Each five minutes for months, as for a server that was deleted meanwhile."""
        duty = replace(self.journal.duties.owed(self.owing(SwapState.REVERTED))[0], attempts=9999)
        before = time.time()
        self.assertEqual(300, round(self.journal.duties.failed(duty, 'no server') - before))

    def test_a_swap_that_something_is_owed_for_is_not_forgotten(self) -> None:
        owing, paid = self.owing(SwapState.CLEANED), self.owing(SwapState.CLEANED)
        for duty in self.journal.duties.owed(paid):
            self.journal.duties.done(duty.number)
        self.assertEqual(1, self.journal.prune(time.time() + 1))
        self.assertEqual([owing], [swap.id for swap in self.journal.records()])

    def test_duties_go_with_their_swap(self) -> None:
        swap_id = self.owing(SwapState.CLEANED)
        for duty in self.journal.duties.owed(swap_id):
            self.journal.duties.done(duty.number)
        self.journal.prune(time.time() + 1)
        self.assertEqual((), self.journal.duties.owed())


class UpgradeTest(JournalTestCase):
    def test_a_journal_of_the_first_schema_is_upgraded_with_its_swaps(self) -> None:
        swap = record()
        names = [name for name in rows.COLUMNS.split(', ') if name not in ('door', 'granted')]
        values = rows.row_of(swap)[: len(names)]
        self.journal.path.parent.mkdir()
        with sqlite3.connect(self.journal.path) as db:
            db.executescript(rows.UPGRADES[0] + 'PRAGMA user_version = 1;')
            marks = ', '.join('?' * len(values))
            db.execute(f'INSERT INTO swap ({", ".join(names)}) VALUES ({marks})', values)
        db.close()
        self.assertEqual((swap,), self.journal.records())
        self.journal.duties.owe(swap.id, Side.KEPT, BACKWARD)
        again = Journal(self.journal.path)
        self.addCleanup(again.close)
        self.assertEqual((swap,), again.records())

    def test_the_door_comes_back_as_it_went_in(self) -> None:
        swap = record(door='{"volume": "a"}')
        self.journal.create(swap)
        self.assertEqual(swap.door, self.journal.record(swap.id).door)
        self.assertNotIn('volume', repr(swap))


class DrainTest(JournalTestCase):
    def test_on_and_off(self) -> None:
        self.assertFalse(self.journal.draining)
        self.assertFalse(self.journal.path.exists())
        for on in (True, True, False):
            self.journal.drain(on)
            self.assertIs(on, self.journal.draining)
