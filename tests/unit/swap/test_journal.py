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
"""The journal keeps what it was told, for one owner at a time, and for nobody else's eyes."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds
from blockmirror_driver.swap import rows
from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.request import RequestKind
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.records import DEAD, record


class JournalTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dir = Path(self.useFixture(fixtures.TempDir()).path)
        self.journal = Journal(self.dir / 'lib' / 'journal.sqlite')
        self.addCleanup(self.journal.close)


class JournalTest(JournalTestCase):
    def test_reading_an_absent_journal_creates_nothing(self) -> None:
        self.assertEqual((), self.journal.records())
        self.assertFalse(self.journal.path.parent.exists())

    def test_a_record_comes_back_as_it_went_in(self) -> None:
        wanted = record(serial='s', hold=True, bandwidth=7, options='{"a": 1}')
        self.journal.create(wanted)
        self.assertEqual(wanted, self.journal.record(wanted.id))
        self.assertEqual(wanted, self.journal.record(wanted.id[:9]))

    def test_files_and_directory_are_for_their_owner_only(self) -> None:
        self.journal.create(record())
        self.assertEqual(0o700, stat.S_IMODE(self.journal.path.parent.stat().st_mode))
        files = list(self.journal.path.parent.iterdir())
        self.assertTrue(files)
        for path in files:
            self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode), str(path))

    def test_an_unknown_or_ambiguous_id_is_refused(self) -> None:
        self.journal.create(record(id='aa1'))
        self.journal.create(record(id='aa2'))
        for name in ('', 'b', 'aa'):
            self.assertRaises(exception.SwapNotFound, self.journal.record, name)

    def test_one_unfinished_swap_per_disk(self) -> None:
        first = record()
        self.journal.create(first)
        second = record(domain_uuid=first.domain_uuid)
        self.assertRaises(exception.DiskBusy, self.journal.create, second)
        self.journal.advance(first.id, SwapState.REVERTED, 'given up', exit_code=3)
        self.journal.create(second)
        self.assertEqual(SwapState.PLANNED, self.journal.record(second.id).state)

    def test_a_forbidden_step_changes_nothing(self) -> None:
        swap = record()
        self.journal.create(swap)
        self.assertRaises(exception.WrongState, self.journal.advance, swap.id, SwapState.CLEANED)
        self.assertEqual(SwapState.PLANNED, self.journal.record(swap.id).state)

    def test_every_step_is_kept_with_its_detail(self) -> None:
        swap = record()
        self.journal.create(swap)
        self.journal.advance(swap.id, SwapState.PREPARED, 'secrets')
        self.journal.advance(swap.id, SwapState.COPYING, 'copy')
        self.journal.note(swap.id, 'a remark', exit_code=8)
        steps = [(step.state, step.detail) for step in self.journal.steps(swap.id)]
        self.assertEqual(
            [
                (SwapState.PLANNED, ''),
                (SwapState.PREPARED, 'secrets'),
                (SwapState.COPYING, 'copy'),
                (SwapState.COPYING, 'a remark'),
            ],
            steps,
        )
        self.assertEqual(8, self.journal.record(swap.id).exit_code)

    def test_a_requested_pivot_stays_requested(self) -> None:
        swap = record(state=SwapState.READY)
        self.journal.create(swap)
        self.journal.advance(swap.id, SwapState.PIVOTING, pivot_requested=True)
        self.journal.advance(swap.id, SwapState.READY)
        self.assertTrue(self.journal.record(swap.id).pivot_requested)

    def test_progress_is_seen_by_other_readers(self) -> None:
        swap = record()
        self.journal.create(swap)
        progress = Progress(
            cur=Bytes(5),
            end=Bytes(9),
            rate=BytesPerSecond(2),
            dirty_rate=BytesPerSecond(1),
            eta=Seconds(2.0),
            stalled_for=Seconds(0.0),
        )
        self.journal.progress(swap.id, progress)
        other = Journal(self.journal.path)
        self.addCleanup(other.close)
        seen = other.record(swap.id)
        self.assertEqual(
            (5, 9, 2, 1, 2.0), (seen.cur, seen.end, seen.rate, seen.dirty_rate, seen.eta)
        )

    def test_each_request_is_taken_once_and_in_order(self) -> None:
        swap = record()
        self.journal.create(swap)
        self.assertEqual((), self.journal.requests(swap.id))
        first = self.journal.ask(swap.id, RequestKind.SPEED, 4096)
        second = self.journal.ask(swap.id, RequestKind.CANCEL)
        waiting = self.journal.requests(swap.id)
        self.assertEqual(
            [(RequestKind.SPEED, 4096), (RequestKind.CANCEL, 0)],
            [(r.kind, r.argument) for r in waiting],
        )
        self.assertEqual({swap.id: second}, self.journal.waiting())
        self.assertEqual(waiting[1:], self.journal.requests(swap.id, after=first))
        self.journal.take(swap.id, first)
        self.assertEqual(waiting[1:], self.journal.requests(swap.id))
        self.assertTrue(self.journal.was_taken(first))
        self.assertFalse(self.journal.was_taken(second))
        self.journal.take(swap.id, second)
        self.assertEqual((), self.journal.requests(swap.id))
        self.assertEqual({}, self.journal.waiting())

    def test_only_what_the_job_tells_itself_may_be_lost_with_the_host(self) -> None:
        swap = record(state=SwapState.COPYING)
        self.journal.create(swap)
        said: list[str] = []
        self.journal._db._connection().set_trace_callback(said.append)
        self.journal.advance(swap.id, SwapState.READY, durable=False)
        self.journal.progress(swap.id, Progress())
        self.journal.advance(swap.id, SwapState.PIVOTING)
        self.journal.note(swap.id, 'a line')
        told = [line.rpartition('=')[2] for line in said if line.startswith('PRAGMA')]
        self.assertEqual(['NORMAL', 'NORMAL', 'FULL', 'FULL'], told)

    def test_a_commit_that_fails_leaves_nothing_open(self) -> None:
        """A later write must be whole by itself, and not join what was never committed."""
        swap = record()
        self.journal.create(swap)

        def fail() -> None:
            with self.journal._db.write() as db:
                # A broken reference that is noticed at COMMIT: like a full disk at that moment.
                db.execute('PRAGMA defer_foreign_keys = ON')
                db.execute(
                    "INSERT INTO step (swap_id, at, state, detail) VALUES ('x', 1.0, 'a', '')"
                )

        self.assertRaises(exception.JournalUnusable, fail)
        self.journal.advance(swap.id, SwapState.PREPARED)
        other = Journal(self.journal.path)
        self.addCleanup(other.close)
        self.assertEqual(SwapState.PREPARED, other.record(swap.id).state)

    def test_the_check_proves_that_something_can_be_written(self) -> None:
        self.journal.check()
        with self.journal._db.read() as db:
            db.execute('PRAGMA query_only = ON')
        self.assertRaises(exception.JournalUnusable, self.journal.check)

    def test_a_living_owner_is_not_robbed_a_dead_one_is(self) -> None:
        parent = Owner.current()
        living = record(owner=parent)
        dead = record(owner=DEAD)
        self.journal.create(living)
        self.journal.create(dead)
        script = (
            'import sys; from blockmirror_driver.swap.journal import Journal;'
            'journal = Journal(sys.argv[1]);'
            'print(*[journal.adopt(name) for name in sys.argv[2:]])'
        )
        done = subprocess.run(
            [sys.executable, '-c', script, self.journal.path, living.id, dead.id],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual('False True', done.stdout.strip())
        # That process is dead by now, so that its swap may be adopted again.
        self.assertTrue(self.journal.adopt(dead.id))
        self.assertEqual(parent, self.journal.record(dead.id).owner)

    def test_a_released_swap_has_no_owner(self) -> None:
        swap = record()
        self.journal.create(swap)
        self.journal.release(swap.id)
        self.assertFalse(self.journal.record(swap.id).owner_alive)

    def test_only_old_and_ended_swaps_are_pruned(self) -> None:
        ended, running = record(updated_at=1.0, state=SwapState.CLEANED), record(updated_at=1.0)
        self.journal.create(ended)
        self.journal.create(running)
        self.assertEqual(1, self.journal.prune(before=2.0))
        self.assertEqual([running.id], [r.id for r in self.journal.records()])

    def test_threads_share_a_journal(self) -> None:
        swap = record()
        self.journal.create(swap)
        numbers: list[int] = []

        def ask() -> None:
            numbers.append(self.journal.ask(swap.id, RequestKind.CANCEL))
            self.journal.close()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(8, len(set(numbers)))

    def test_one_of_an_older_release_is_brought_up(self) -> None:
        """What it holds stays, and nothing is granted to its swaps yet."""
        self.journal.path.parent.mkdir()
        db = sqlite3.connect(self.journal.path)
        for upgrade in rows.UPGRADES[:2]:
            db.executescript(upgrade)
        old = record(bandwidth=7)
        values = dict(zip(SwapRecord.__dataclass_fields__, rows.row_of(old), strict=True))
        del values['granted']
        marks = ', '.join('?' * len(values))
        db.execute(
            f'INSERT INTO swap ({", ".join(values)}) VALUES ({marks})',
            tuple(values.values()),
        )
        db.execute('PRAGMA user_version = 2')
        db.commit()
        db.close()
        self.assertEqual((old,), self.journal.records())
        self.journal.set_granted(old.id, 5)
        self.assertEqual(5, self.journal.record(old.id).granted)

    def test_a_newer_schema_is_refused(self) -> None:
        self.journal.check()
        db = sqlite3.connect(self.journal.path)
        db.execute('PRAGMA user_version = 99')
        db.close()
        other = Journal(self.journal.path)
        self.assertRaises(exception.JournalUnusable, other.check)

    def test_a_broken_file_is_one_clear_error(self) -> None:
        path = self.dir / 'broken.sqlite'
        path.write_bytes(b'not a database' * 100)
        error = self.assertRaises(exception.JournalUnusable, Journal(path).check)
        self.assertIn(str(path), error.message)
        self.assertEqual(3, error.exit_code)

    def test_a_path_that_is_a_directory_is_one_clear_error(self) -> None:
        self.assertRaises(exception.JournalUnusable, Journal(self.dir).check)

    def test_an_error_inside_a_transaction_rolls_all_back(self) -> None:
        swap = record()

        def fail() -> None:
            with self.journal.transaction():
                self.journal.create(swap)
                raise exception.Cancelled('stop')

        self.assertRaises(exception.Cancelled, fail)
        self.assertEqual((), self.journal.records())


class OwnerTest(testtools.TestCase):
    def test_this_process_is_alive(self) -> None:
        self.assertTrue(Owner.current().is_alive)
        self.assertEqual(os.getpid(), Owner.current().pid)

    def test_a_recycled_pid_or_another_boot_is_dead(self) -> None:
        me = Owner.current()
        self.assertFalse(dataclasses.replace(me, start_time=me.start_time + 1).is_alive)
        self.assertFalse(dataclasses.replace(me, boot_id='another').is_alive)

    def test_a_zombie_is_dead(self) -> None:
        child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)
        start = int(Path(f'/proc/{child.pid}/stat').read_text().rpartition(')')[2].split()[19])
        owner = Owner(Owner.current().boot_id, child.pid, start)
        self.assertTrue(owner.is_alive)
        assert child.stdin is not None
        child.stdin.close()
        # Wait for the end without reaping: WNOWAIT leaves the zombie.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.assertFalse(owner.is_alive)
        child.wait()
        self.assertFalse(owner.is_alive)
