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
"""Whose a block job is, and what may be done with one that is nobody's."""

from __future__ import annotations

from typing import Any

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.swap.qemu_jobs import OrphanJobs
from blockmirror_driver.virt.monitor import Monitor
from tests.unit.fakes import FakeDomain, FakeHypervisor
from tests.unit.swap.records import record

OURS = '0123456789abcdef'


def job(name: str, status: str = 'running') -> dict[str, Any]:
    return {
        'device': name, 'type': 'mirror', 'offset': 3, 'len': 9, 'speed': 5,
        'ready': status == 'ready', 'status': status,
    }  # fmt: skip


class OrphanTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.domain = FakeHypervisor().add(FakeDomain())
        self.there = [
            job('copy-vda-libvirt-1-format'),
            job('nightly'),
            job('bm-01234567'),
            job('bm-89abcdef', 'ready'),
        ]
        self.said: list[tuple[str, Any]] = []
        #: What a job that is cancelled becomes; ``None`` when it is gone at once.
        self.ends: str | None = 'concluded'
        self.looks: list[float] = []
        self.useFixture(
            fixtures.MockPatchObject(Monitor, 'execute', lambda _self, *args: self.execute(*args))
        )
        records = [record(id=OURS, domain_uuid=self.domain.uuid)]
        self.jobs = OrphanJobs(
            self.domain, records, patience=Seconds(0.0), sleep=lambda _seconds: None
        )

    def execute(self, command: str, arguments: Any = None) -> Any:
        self.said.append((command, arguments))
        if command == 'query-block-jobs':
            return self.there
        if command == 'block-job-cancel':
            others = [one for one in self.there if one['device'] != arguments['device']]
            self.there = others + ([job(arguments['device'], self.ends)] if self.ends else [])
        return {}

    def done(self) -> list[Any]:
        return [told for told in self.said if told[0] != 'query-block-jobs']

    def test_owners(self) -> None:
        self.assertEqual(
            ['libvirt', 'nobody', f'swap {OURS}', 'nobody'],
            [owned.owner for owned in self.jobs.owned()],
        )

    def test_another_guests_swap_owns_nothing_here(self) -> None:
        self.there = [job('bm-01234567')]
        other = OrphanJobs(self.domain, [record(id=OURS)], patience=Seconds(0.0))
        self.assertTrue(other.owned()[0].is_orphan)

    def test_what_somebody_knows_of_is_left_to_him(self) -> None:
        for name, owner in (('copy-vda-libvirt-1-format', 'libvirt'), ('bm-01234567', 'swap')):
            for attempt in (
                lambda name=name: self.jobs.cancel(name),
                lambda name=name: self.jobs.set_speed(name, BytesPerSecond(1)),
            ):
                error = self.assertRaises(exception.DiskBusy, attempt)
                self.assertIn(f'belongs to {owner}', str(error))
        self.assertEqual([], self.done())

    def test_no_such_job(self) -> None:
        self.assertRaises(exception.WrongState, self.jobs.cancel, 'nightl')
        self.assertEqual([], self.done())

    def test_one_that_dismisses_itself(self) -> None:
        self.ends = None
        self.jobs.cancel('nightly')
        self.assertEqual([('block-job-cancel', {'device': 'nightly'})], self.done())

    def test_one_that_waits_to_be_dismissed(self) -> None:
        self.jobs.cancel('nightly')
        self.assertEqual(('job-dismiss', {'id': 'nightly'}), self.done()[-1])

    def test_one_that_is_over_already(self) -> None:
        self.there = [job('nightly', 'concluded')]
        self.jobs.cancel('nightly')
        self.assertEqual([('job-dismiss', {'id': 'nightly'})], self.done())

    def test_what_a_lost_swap_of_ours_left(self) -> None:
        self.jobs.cancel('bm-89abcdef')
        told = [(command, arguments) for command, arguments in self.done()[1:]]
        self.assertEqual(('job-dismiss', {'id': 'bm-89abcdef'}), told[0])
        self.assertEqual(('blockdev-del', {'node-name': 'bm-89abcdef-format'}), told[1])
        self.assertEqual({'object-del'}, {command for command, _arguments in told[2:]})

    def test_one_that_does_not_end(self) -> None:
        self.ends = 'aborting'
        clock = iter(range(9)).__next__
        jobs = OrphanJobs(
            self.domain, [], patience=Seconds(2.0), clock=clock, sleep=self.looks.append
        )
        self.assertRaises(exception.TimedOut, jobs.cancel, 'nightly')
        self.assertEqual(2, len(self.looks))
        self.assertNotIn('job-dismiss', [command for command, _arguments in self.said])
