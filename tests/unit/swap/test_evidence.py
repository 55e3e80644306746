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
"""What is read of the world, and what recovery makes of each state with each of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.swap import evidence
from blockmirror_driver.swap.reconcile import Decision, Evidence, Guest, Job, Side, decide
from blockmirror_driver.swap.record import SwapRecord
from blockmirror_driver.swap.states import ENDED, EXIT_CODES, SwapState
from tests.unit.swap.guest import DESTINATION, DEV, OTHER, SOURCE
from tests.unit.swap.orphans import RecoverTestCase


class EvidenceTest(RecoverTestCase):
    def _read(self, *, pivot_requested: bool = False) -> Evidence:
        return evidence.read(
            self.hypervisor,
            self.guest.uuid,
            DEV,
            replace(DESTINATION, source=SOURCE),
            DESTINATION,
            pivot_requested=pivot_requested,
        )

    def test_the_guest_dies_between_two_calls(self) -> None:
        for method in ('live_disk', 'job'):
            with self.subTest(method):
                self.guest.fail(method, exception.DomainNotFound('gone'))
                self.assertEqual(
                    Evidence(Guest.GONE, Job.NONE, Side.ABSENT, Side.SOURCE), self._read()
                )

    def test_the_disk_vanished(self) -> None:
        self.guest.live_source = None
        seen = self._read()
        self.assertEqual(Evidence(Guest.RUNNING, Job.NONE, Side.ABSENT, Side.SOURCE), seen)
        self.assertIs(Decision.UNKNOWN, decide(seen).decision)

    def test_a_job_that_begins_between_two_calls_is_not_taken_for_a_foreign_one(self) -> None:
        self.guest.on('live_disk', lambda: self.guest.shows('no'))
        self.assertIs(Job.COPYING, self._read().job)

    def test_a_job_without_a_mirror_is_foreign(self) -> None:
        self.guest.foreign()
        self.guest.mirrored = None
        self.assertIs(Job.FOREIGN, self._read().job)

    def test_no_domain(self) -> None:
        self.hypervisor.fake_domains.clear()
        self.assertEqual(
            Evidence(Guest.GONE, Job.NONE, Side.ABSENT, Side.ABSENT, True),
            self._read(pivot_requested=True),
        )


class EveryStateTest(RecoverTestCase):
    """Each unfinished state with each evidence: an allowed end, never a broken promise."""

    def _one(self, state: SwapState, seen: Evidence) -> None:
        row = self.orphan(state)
        self.shows(seen.job, seen.live, seen.stored)
        if seen.job is Job.COPYING:
            self.world.later(2.0, self.guest.ready)
        if seen.guest is Guest.GONE:
            self.guest.active = False
            self.guest.ends()
        self.guest.calls.clear()
        result = self.recover()
        after = self.journal.record(row.id)
        self.assertEqual(result.state, after.state)
        self.assertIn(result.exit_code, EXIT_CODES[result.state])
        self.assertEqual([], self.journal.forbidden)
        if after.state not in ENDED:
            self.assertIsNone(after.owner)
        if result.exit_code in (3, 4, 5, 6) and state not in (
            SwapState.PLANNED,
            SwapState.PREPARED,
        ):
            on = self.guest.live_source if self.guest.active else self.guest.stored_source
            self.assertIn(on, (SOURCE, None))
        if (
            result.exit_code in (0, 8)
            and seen.guest is Guest.RUNNING
            and state is not (SwapState.VERIFIED)
        ):
            self.assertNotIn(self.guest.live_source, (SOURCE, OTHER, None))
        if seen.job is Job.FOREIGN:
            self.assertEqual(0, self.guest.count('abort') + self.guest.count('pivot'))

    def test_all(self) -> None:
        running = [
            Evidence(Guest.RUNNING, job, live, stored)
            for job, live, stored in itertools.product(Job, Side, Side)
            if live is not Side.ABSENT or job is Job.NONE
        ]
        gone = [Evidence(Guest.GONE, Job.NONE, Side.ABSENT, stored) for stored in Side]
        for state, seen in itertools.product(
            [s for s in SwapState if s not in ENDED], running + gone
        ):
            with self.subTest(f'{state.value}: {seen}'):
                self.world.plans.clear()
                self.secrets.kept.clear()
                self.guest.jobs.clear()
                self.guest.mirrored, self.guest.marked = None, None
                self.guest.active, self.guest.pivots = True, []
                self._one(state, seen)
                self.journal.prune(before=float('inf'))
                for left in self.journal.records():
                    self._forget(left)

    def _forget(self, left: SwapRecord) -> None:
        with self.journal._db.write() as db:
            db.execute('DELETE FROM swap WHERE id = ?', (left.id,))
