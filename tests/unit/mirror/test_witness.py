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
"""What a look at the disk makes of what libvirt says."""

from __future__ import annotations

import unittest
from dataclasses import replace

from blockmirror_driver import exception
from blockmirror_driver.mirror import events as ev
from blockmirror_driver.mirror.events import Evidence
from blockmirror_driver.mirror.witness import Witness, is_unready
from blockmirror_driver.model import Auth, Host, Seconds, SecretRef, SecretUsage
from blockmirror_driver.virt.calls import HangingCall
from blockmirror_driver.virt.events import (
    BlockJobEvent,
    BlockJobStatus,
    ConnectionLost,
    HypervisorEvent,
    Lifecycle,
    LifecycleEvent,
    Reconnected,
)
from tests.unit.mirror.pieces import (
    DESTINATION,
    ELSEWHERE,
    SOURCE,
    Clock,
    ScriptedDomain,
    ScriptedHypervisor,
    job,
    live,
    mirror,
)

HANGS = exception.HypervisorUnavailable('no answer within 30 s', outcome_unknown=True)


class Unready(unittest.TestCase):
    def test_one_byte_is_what_libvirt_takes_away(self) -> None:
        for cur, end, proves in (
            (99, 100, True),
            (100, 100, False),
            (36, 100, False),
            (0, 1, False),
        ):
            with self.subTest(cur=cur, end=end):
                self.assertIs(proves, is_unready(job(cur, end)))


class Looking(unittest.TestCase):
    """One reading of one disk."""

    def setUp(self) -> None:
        clock = Clock()
        self.hypervisor = ScriptedHypervisor(clock)
        self.domain = ScriptedDomain(clock)
        self.hypervisor.add(self.domain)
        self.witness = Witness(self.domain, 'vda', source=SOURCE, destination=DESTINATION)

    def see(self) -> Evidence:
        return self.witness.read(Seconds(1.0)).evidence

    def test_our_job(self) -> None:
        """In each stage that libvirt knows."""
        self.domain.moves(10)
        for ready, evidence in (
            ('no', Evidence.COPYING),
            ('yes', Evidence.READY),
            ('pivot', Evidence.PIVOTING),
            ('abort', Evidence.ABORTING),
        ):
            self.domain.live['vda'] = live(SOURCE, mirror(ready))  # type: ignore[arg-type]
            self.assertIs(self.see(), evidence)

    def test_a_cursor_at_the_end_is_not_ready(self) -> None:
        """Only what libvirt says in ``<mirror>`` is (P1): the guest may be writing."""
        reading = ev.Reading(
            at=Seconds(0.0), guest='running', mirror=mirror('no'), job=job(100, 100)
        )
        self.assertIs(Evidence.COPYING, reading.evidence)

    def test_how_the_destination_is_reached_does_not_matter(self) -> None:
        """libvirt adds what it resolved: secrets, more monitors in another order."""
        shown = replace(
            DESTINATION,
            hosts=(Host('192.0.2.2', 6789), *DESTINATION.hosts),
            auth=Auth('cinder', SecretRef(SecretUsage.CEPH, uuid='0' * 32)),
        )
        self.domain.live['vda'] = live(SOURCE, mirror('no', source=shown))
        self.assertIs(self.see(), Evidence.COPYING)
        self.domain.live['vda'] = live(shown)
        self.assertIs(self.see(), Evidence.SWITCHED)

    def test_no_job(self) -> None:
        """The live source tells what became of it."""
        for source, evidence in (
            (SOURCE, Evidence.ENDED),
            (DESTINATION, Evidence.SWITCHED),
            (ELSEWHERE, Evidence.CHANGED),
        ):
            self.domain.live['vda'] = live(source)
            self.assertIs(self.see(), evidence)

    def test_foreign_jobs(self) -> None:
        """A copy elsewhere, a commit, a mirror that we can't read, and a pull."""
        for shown in (
            mirror('yes', source=ELSEWHERE),
            mirror('no', kind='active-commit'),
            mirror('no', source=None),
        ):
            self.domain.live['vda'] = live(SOURCE, shown)
            self.assertIs(self.see(), Evidence.FOREIGN)
        self.domain.live['vda'] = live()
        self.domain.jobs['vda'] = job(kind=1)
        self.assertIs(self.see(), Evidence.FOREIGN)

    def test_the_job_ended_between_the_two_calls(self) -> None:
        """The XML is the newer; on the source a second look must explain it."""
        self.domain.moves(100)
        self.assertIs(self.see(), Evidence.TORN)
        self.domain.live['vda'] = live(DESTINATION)
        self.assertIs(self.see(), Evidence.SWITCHED)

    def test_the_job_is_over_and_libvirt_clears_up(self) -> None:
        """Seen on libvirt 9.0 for milliseconds around a pivot: ``<mirror job=''>``."""
        self.domain.moves(100)
        for source in (SOURCE, DESTINATION):
            self.domain.live['vda'] = live(source, mirror('no', kind=''))
            self.assertIs(self.see(), Evidence.TORN)

    def test_the_guest_is_gone(self) -> None:
        """Whichever call finds out."""
        self.domain.die(emit=False)
        self.assertIs(self.see(), Evidence.GUEST_GONE)
        self.domain.active = True
        self.domain.fail('live_disk', exception.DomainNotFound('gone'))
        self.assertIs(self.see(), Evidence.GUEST_GONE)

    def test_the_disk_is_gone(self) -> None:
        """Somebody took it out: it is not our source any more."""
        del self.domain.live['vda']
        self.assertIs(self.see(), Evidence.CHANGED)

    def test_a_job_that_can_not_be_asked_for(self) -> None:
        """The XML alone is enough."""
        self.domain.shows('yes')
        self.domain.fail('job', exception.HypervisorUnavailable('no'), exception.DiskBusy('no'))
        self.assertIs(self.see(), Evidence.READY)
        self.assertIs(self.see(), Evidence.READY)

    def test_a_call_that_hangs_is_not_made_again(self) -> None:
        """Until it has returned: libvirt allows us few at a time."""
        self.domain.fail('job', HANGS)
        self.hypervisor.fake_hanging = (HangingCall('blockJobInfo', Seconds(0.0)),)
        for _ in range(3):
            self.see()
        self.assertIsNone(self.witness.cursor())
        self.assertEqual(self.domain.count('job'), 1)
        self.hypervisor.fake_hanging = ()
        self.see()
        self.assertEqual(self.domain.count('job'), 2)

    def test_without_the_job(self) -> None:
        """While a call of ours may hold libvirt's lock on it."""
        self.domain.shows('yes')
        self.witness.read(Seconds(1.0), with_job=False)
        self.assertEqual(self.domain.count('job'), 0)

    def test_xml_that_can_not_be_read(self) -> None:
        """There is no reading then."""
        self.domain.fail('live_disk', exception.HypervisorUnavailable('no'))
        self.assertRaises(exception.HypervisorUnavailable, self.see)


class Hearing(unittest.TestCase):
    """Which events of the hypervisor concern a disk's copy."""

    def hear(self, event: HypervisorEvent) -> ev.MirrorEvent | None:
        return ev.translate(event, 'uuid', 'vda')

    def test_job_events(self) -> None:
        """Those of a copy on this disk of this guest."""
        for status, wanted in (
            (BlockJobStatus.READY, ev.ReadyEvent()),
            (BlockJobStatus.COMPLETED, ev.CompletedEvent()),
            (BlockJobStatus.FAILED, ev.FailedEvent()),
            (BlockJobStatus.CANCELED, ev.CanceledEvent()),
            (BlockJobStatus.UNKNOWN, None),
        ):
            self.assertEqual(self.hear(BlockJobEvent('uuid', 'vda', 2, status)), wanted)
            for other in (
                BlockJobEvent('other', 'vda', 2, status),
                BlockJobEvent('uuid', 'vdb', 2, status),
                BlockJobEvent('uuid', 'vda', 4, status),
            ):
                self.assertIsNone(self.hear(other))

    def test_lifecycle(self) -> None:
        """Only the end of the guest matters, not that it is paused."""
        for event in Lifecycle:
            heard = self.hear(LifecycleEvent('uuid', event, 0))
            ended = event in (Lifecycle.STOPPED, Lifecycle.CRASHED)
            self.assertEqual(heard, ev.GuestStopped() if ended else None)
            self.assertIsNone(self.hear(LifecycleEvent('other', event, 0)))

    def test_the_connection(self) -> None:
        """Concerns everyone."""
        for event in (ConnectionLost('x'), Reconnected(2)):
            self.assertEqual(self.hear(event), event)
