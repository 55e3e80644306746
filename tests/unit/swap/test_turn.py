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
"""Whose turn it is: first come, first served, for each limit of its own."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from pathlib import Path

import fixtures
import hypothesis.strategies as st
import testtools
from hypothesis import given

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap import budget, line, rows
from blockmirror_driver.swap.budget import Budget, Claim, Limit
from blockmirror_driver.swap.control import Control
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from blockmirror_driver.swap.tickets import Ticket, Tickets
from blockmirror_driver.swap.turn import Turn
from tests.unit.swap.line import MIB, LineTestCase, to
from tests.unit.swap.records import DEAD, record

LIMITS = st.builds(Limit, st.sampled_from([0, 1, 2, 5]), st.sampled_from([0, 4 * MIB, 9 * MIB]))
WANTS = st.lists(
    st.builds(Claim, backend=st.sampled_from('ab'), own=st.sampled_from([0, 0, MIB, 5 * MIB])),
    max_size=3,
)


class RefusalTest(LineTestCase):
    """Without a wait, what is beyond a limit is refused."""

    def refused(self, *wanted: str, **changes: int) -> str:
        wait = changes.pop('wait', 0)
        records = [to(pool, **changes) for pool in wanted]
        error = self.assertRaises(exception.BudgetExhausted, self.begin, *records, wait=wait)
        self.assertEqual((), Tickets(self.journal.database).line())
        return str(error)

    def test_the_count(self) -> None:
        self.begin(record())
        self.assertIn('1 of 1 swaps of this host are running', self.refused('a'))
        self.assertEqual(1, len(self.journal.records()))

    def test_several_at_once(self) -> None:
        """All or none: a part of them would wait for the rest for ever."""
        self.budget = Budget(Limit(2))
        self.begin(record())
        self.assertIn('1 of 2 swaps of this host are running, 2 more', self.refused('a', 'b'))
        self.assertEqual(1, len(self.journal.records()))

    def test_bandwidths_of_their_own(self) -> None:
        self.budget = Budget(Limit(9, 100))
        self.begin(record(bandwidth=60))
        self.begin(record(bandwidth=40))
        for more in (0, 1):
            self.assertIn('100 of 100 bytes/s of this host', self.refused('a', bandwidth=more))

    def test_a_share_that_is_too_small(self) -> None:
        self.budget = Budget(Limit(9, 4 * MIB))
        self.begin(record(bandwidth=2 * MIB + 1))
        (row,) = self.begin(record())
        self.assertEqual(2 * MIB - 1, row.granted)
        self.assertIn('are reserved', self.refused('a'))

    def test_each_backend(self) -> None:
        self.budget = Budget(Limit(9), Limit(1))
        self.begin(to('fast'))
        self.assertIn('1 of 1 swaps to this file backend are running', self.refused('fast'))
        self.begin(to('slow'))
        self.budget = Budget(Limit(9), Limit(bandwidth=100))
        self.assertIn(
            '100 of 100 bytes/s to this file backend are reserved',
            self.refused('fast', bandwidth=1),
        )

    def test_what_never_fits_does_not_wait(self) -> None:
        self.budget = Budget(Limit(2, 4 * MIB))
        self.refused('a', 'b', 'c', wait=60)
        self.refused('a', bandwidth=4 * MIB + 1, wait=60)
        self.assertEqual((100.0, []), (self.now, self.told))

    def test_another_swap_of_the_disk(self) -> None:
        """Nothing of those that were to begin together is left behind."""
        self.budget = Budget(Limit(9))
        (first,) = self.begin(record())
        second = record(domain_uuid=first.domain_uuid)
        self.assertRaises(exception.DiskBusy, self.begin, record(), second)
        self.assertEqual([first.id], [one.id for one in self.journal.records()])

    def test_nobody_overtakes(self) -> None:
        """Room that somebody waits for is not there for one who came later."""
        (running,) = self.begin(record())
        waiting = self.turn(60)
        self.assertIsNone(waiting.reserve([record()]))
        self.end(running)
        error = self.assertRaises(exception.BudgetExhausted, self.begin, record())
        self.assertIn('1 of 1', str(error))
        self.assertIsNotNone(waiting.reserve([record()]))


class CountTest(LineTestCase):
    """What counts is in the journal, and so is as it was after a restart."""

    def test_a_dead_owner_s_running_job_still_counts(self) -> None:
        self.journal.create(record(owner=DEAD, state=SwapState.COPYING))
        self.journal.create(record(owner=DEAD, state=SwapState.PREPARED))
        self.assertEqual(1, len(budget.reservations(self.journal)))

    def test_an_ended_swap_gives_its_place_back(self) -> None:
        (row,) = self.begin(record())
        self.end(row)
        self.begin(record())
        self.assertEqual(1, len(budget.reservations(self.journal)))

    def test_a_job_that_nobody_runs_keeps_what_it_may_move(self) -> None:
        self.budget = Budget(Limit(9, 10 * MIB))
        self.journal.create(record(owner=DEAD, state=SwapState.COPYING, granted=8 * MIB))
        (row,) = self.begin(record())
        self.assertEqual(2 * MIB, row.granted)

    def test_one_of_which_that_is_not_known_counts_as_all(self) -> None:
        """Of an older release, or found in the guest's metadata."""
        self.budget = Budget(Limit(9, 10 * MIB))
        self.journal.create(record(owner=None, state=SwapState.COPYING))
        error = self.assertRaises(exception.BudgetExhausted, self.begin, record())
        self.assertIn(f'{10 * MIB} of {10 * MIB} bytes/s', str(error))


class WaitTest(LineTestCase):
    def test_until_there_is_room(self) -> None:
        (running,) = self.begin(record())
        self.meanwhile = [lambda: None, lambda: self.end(running)]
        (row,) = self.begin(record(), wait=60)
        self.assertEqual(102.0, self.now)
        self.assertEqual(
            ['waiting for its turn: 1 of 1 swaps of this host are running'], self.told
        )
        self.assertEqual(SwapState.PLANNED, self.journal.record(row.id).state)
        self.assertEqual((), Tickets(self.journal.database).line())

    def test_for_so_long_at_most(self) -> None:
        self.begin(record())
        error = self.assertRaises(exception.BudgetExhausted, self.begin, record(), wait=7.5)
        self.assertIn('1 of 1 swaps of this host are running, after waiting for 7.5 s', str(error))
        self.assertEqual(107.5, self.now)
        self.assertEqual((), Tickets(self.journal.database).line())

    def test_told_to_stop(self) -> None:
        """^C and SIGTERM: nothing was changed."""
        self.begin(record())
        for stop in (self.control.cancel, self.control.leave):
            self.meanwhile = [stop]
            error = self.assertRaises(exception.Cancelled, self.begin, record(), wait=60)
            self.assertIn('nothing was changed', str(error))
            self.assertEqual((), Tickets(self.journal.database).line())
            self.control.reset()
        self.assertEqual(1, len(self.journal.records()))

    def test_woken_by_whoever_stops_it(self) -> None:
        self.begin(record())
        self.meanwhile = [self.control.cancel]
        self.assertRaises(exception.Cancelled, self.begin, record(), wait=60)
        self.assertEqual(1, self.woken)
        self.control.cancel()
        self.assertEqual(1, self.woken)

    def test_a_host_that_drains_is_looked_at_anew(self) -> None:
        self.begin(record())
        turn = self.turn(60)
        self.assertIsNone(turn.reserve([record()]))
        self.meanwhile = [lambda: self.other.drain(True)]
        turn.wait(self.told.append)
        self.assertEqual(101.0, self.now)

    def test_a_journal_that_fails_while_it_waits(self) -> None:
        self.begin(record())
        turn = self.turn(60)
        self.assertIsNone(turn.reserve([record()]))

        def spoil() -> None:
            self.journal.close()
            self.journal.path.write_bytes(b'no database' * 1000)

        self.meanwhile = [spoil]
        with turn:
            self.assertRaises(exception.JournalUnusable, turn.wait, self.told.append)


class ThreadTest(testtools.TestCase):
    """As it really waits: in a thread, woken by another."""

    def test_woken(self) -> None:
        path = Path(self.useFixture(fixtures.TempDir()).path) / 'journal.sqlite'
        journal, control, told = Journal(path), Control(), queue.SimpleQueue[str]()
        self.addCleanup(journal.close)
        running = record(state=SwapState.CANCELLING)
        journal.create(running)
        begun: list[object] = []

        def wait() -> None:
            with Turn(journal, Budget(Limit(1)), control, Seconds(60.0)) as turn:
                while (rows := turn.reserve([record()])) is None:
                    turn.wait(told.put)
            begun.append(rows)
            journal.close()

        thread = threading.Thread(target=wait)
        thread.start()
        self.assertIn('1 of 1', told.get(timeout=30))
        journal.advance(running.id, SwapState.REVERTED)
        control.look()
        thread.join()
        self.assertEqual(1, len(begun))


class LinePropertyTest(testtools.TestCase):
    @given(WANTS, st.lists(WANTS, max_size=5), LIMITS, LIMITS)
    def test_whoever_is_called_fits_and_the_first_is_if_he_does(
        self, running: list[Claim], wanted: list[list[Claim]], host: Limit, backend: Limit
    ) -> None:
        budget = Budget(host, backend)
        tickets = [Ticket(number, tuple(one)) for number, one in enumerate(wanted, 1) if one]
        called = line.called(budget, running, tickets)
        if called and not line.shortage(budget, (), running):
            self.assertEqual('', line.shortage(budget, running, called))
        if tickets:
            first = tickets[0].wants
            fits = not line.shortage(budget, running, first)
            self.assertEqual(fits, called[: len(first)] == first and fits)

    @given(WANTS, st.lists(WANTS, min_size=1, max_size=4), LIMITS)
    def test_with_the_host_s_limit_only_the_order_is_kept(
        self, running: list[Claim], wanted: list[list[Claim]], host: Limit
    ) -> None:
        budget = Budget(host)
        tickets = [Ticket(number, tuple(one)) for number, one in enumerate(wanted, 1) if one]
        called = line.called(budget, running, tickets)
        in_order = [claim for ticket in tickets for claim in ticket.wants]
        if host.swaps:
            self.assertEqual(tuple(in_order[: len(called)]), called)
        elif not host.bandwidth:
            self.assertEqual(tuple(in_order), called)


class OrderTest(LineTestCase):
    """Two processes: each of them has a journal of its own, and one file."""

    def test_first_come_first_served(self) -> None:
        (running,) = self.begin(record())
        first, second = self.turn(60), self.turn(60, self.other)
        self.assertIsNone(first.reserve([record()]))
        self.assertIsNone(second.reserve([record()]))
        self.end(running)
        self.assertIsNone(second.reserve([record()]))
        rows = first.reserve([record()])
        assert rows is not None
        self.assertIsNone(second.reserve([record()]))
        self.end(rows[0])
        self.assertIsNotNone(second.reserve([record()]))

    def test_one_who_gives_up(self) -> None:
        (running,) = self.begin(record())
        first, second = self.turn(60), self.turn(60, self.other)
        self.assertIsNone(first.reserve([record()]))
        self.assertIsNone(second.reserve([record()]))
        self.end(running)
        with first:
            pass
        self.assertIsNotNone(second.reserve([record()]))

    def test_one_whose_process_is_gone(self) -> None:
        """Judged as the owner of a swap is; it is taken out of the line."""
        (running,) = self.begin(record())
        code = (
            'import sys; from blockmirror_driver.swap.journal import Journal;'
            'from blockmirror_driver.swap.tickets import Tickets;'
            'from blockmirror_driver.swap.budget import Claim;'
            'Tickets(Journal(sys.argv[1]).database).add([Claim()]); print("in line", flush=True);'
            'input()'
        )
        child = subprocess.Popen(
            [sys.executable, '-c', code, str(self.journal.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        self.assertEqual('in line\n', child.stdout.readline())
        self.end(running)
        error = self.assertRaises(exception.BudgetExhausted, self.begin, record())
        self.assertIn('are running', str(error))
        child.kill()
        child.communicate()
        self.begin(record())
        with self.journal.database.read() as db:
            self.assertEqual([], db.execute('SELECT * FROM ticket').fetchall())

    def test_one_of_another_boot(self) -> None:
        self.journal.check()
        with self.journal.database.write() as db:
            db.execute(
                'INSERT INTO ticket (owner, wants, disks, at) VALUES (?, ?, ?, 0)',
                (rows.owner_text(DEAD), '[[null, 0]]', '[]'),
            )
        self.begin(record())
        self.assertEqual((), Tickets(self.other.database).line())

    def test_who_waits_for_a_backend_holds_up_none_to_another(self) -> None:
        self.budget = Budget(Limit(9), Limit(1))
        (running,) = self.begin(to('fast'))
        first = self.turn(60)
        self.assertIsNone(first.reserve([to('fast')]))
        self.begin(to('slow'))
        late = self.turn(60, self.other)
        self.assertIsNone(late.reserve([to('fast')]))
        self.end(running)
        self.assertIsNone(late.reserve([to('fast')]))
        self.assertIsNotNone(first.reserve([to('fast')]))

    def test_who_waits_for_the_host_holds_up_all(self) -> None:
        """Even one that would fit: else many small ones would keep a large one out for ever."""
        self.budget = Budget(Limit(9, 10 * MIB))
        (running,) = self.begin(record(bandwidth=6 * MIB))
        large = self.turn(60)
        self.assertIsNone(large.reserve([record(bandwidth=8 * MIB)]))
        error = self.assertRaises(exception.BudgetExhausted, self.begin, record(bandwidth=MIB))
        self.assertIn('another swap waits for the bytes of this host already', str(error))
        self.end(running)
        self.assertIsNotNone(large.reserve([record(bandwidth=8 * MIB)]))
        self.begin(record(bandwidth=MIB))

    def test_whose_turn_it_is_keeps_the_room_until_it_has_begun(self) -> None:
        self.budget = Budget(Limit(2))
        (running, _other) = self.begin(record(), record())
        first, second = self.turn(60), self.turn(60, self.other)
        self.assertIsNone(first.reserve([record()]))
        self.assertIsNone(second.reserve([record()]))
        self.end(running)
        first.wait(self.told.append)
        self.assertIsNone(second.reserve([record()]))
        self.assertIsNotNone(first.reserve([record()]))

    def test_a_destination_that_is_another_after_waiting(self) -> None:
        """It keeps its place in the line, and wants what it wants by then."""
        self.budget = Budget(Limit(9), Limit(1))
        fast, slow = self.begin(to('fast'), to('slow'))
        turn = self.turn(60)
        self.assertIsNone(turn.reserve([to('fast')]))
        number = turn.number
        self.end(fast)
        self.assertIsNone(turn.reserve([to('slow')]))
        self.assertEqual(number, turn.number)
        self.begin(to('fast'))
        self.end(slow)
        self.assertIsNotNone(turn.reserve([to('slow')]))
