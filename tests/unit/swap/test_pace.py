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
"""A copy that is outrun is made synchronous, once, and only where that is the policy."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror import copy_mode
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.mirror.states import JobState
from blockmirror_driver.model import BytesPerSecond, Disk, RbdSource, Seconds
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.pace import Pace
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.sharing import Sharing
from blockmirror_driver.virt.counters import WriteCounters
from blockmirror_driver.virt.domain import JobInfo
from tests.unit.fakes import FakeDomain, FakeHypervisor

DISK = Disk(RbdSource('pool', 'image'))


class PaceTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        self.domain = self.hypervisor.add(FakeDomain())
        self.notes: list[str] = []
        self.made = mock.Mock()
        patcher = mock.patch.object(copy_mode, 'make_synchronous', self.made)
        patcher.start()
        self.addCleanup(patcher.stop)

    def pace(self, policy: str) -> Pace:
        swap = Swap(
            'swap-1', 'guest', self.domain.uuid, 'vda', DISK, '', DISK,
            CopyOptions(convergence=policy), Ending.PIVOT, None,
        )  # fmt: skip
        told: Any = types.SimpleNamespace(note=self.notes.append, clock=lambda: 0.0)
        ledger = cast(Ledger, told)
        return Pace(self.hypervisor, swap, ledger)

    @staticmethod
    def mirror(diverges: bool) -> Mirror:
        told: Any = types.SimpleNamespace(snapshot=lambda: mock.Mock(diverges=diverges))
        return cast(Mirror, told)

    def test_once(self) -> None:
        pace = self.pace('synchronous')
        pace.keep(self.mirror(False))
        self.made.assert_not_called()
        pace.keep(self.mirror(True))
        pace.keep(self.mirror(True))
        self.made.assert_called_once_with(self.domain, 'vda')
        self.assertEqual(["the guest's writes go to both sides from now on"], self.notes)
        self.assertFalse(pace.is_due(self.mirror(True)))

    def test_other_policies(self) -> None:
        for policy in ('go-on', 'abort'):
            pace = self.pace(policy)
            self.assertFalse(pace.is_due(self.mirror(True)))
            pace.keep(self.mirror(True))
        self.made.assert_not_called()

    def test_a_refusal_is_told_and_the_copy_goes_on(self) -> None:
        self.made.side_effect = exception.Refused('QEMU refused block-job-change: no')
        pace = self.pace('synchronous')
        pace.keep(self.mirror(True))
        self.assertIn('could not be made synchronous: QEMU refused', self.notes[0])
        self.assertFalse(pace.is_due(self.mirror(True)))


class FollowTest(testtools.TestCase):
    """With a target the limit follows the guest; without one nobody looks."""

    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        self.domain = self.hypervisor.add(FakeDomain())
        self.domain.jobs['vda'] = JobInfo(2, BytesPerSecond(0), 0, 1 << 30)
        self.now = 100.0
        self.limits: list[int] = []

    def pace(self, **options: Any) -> Pace:
        swap = Swap(
            'swap-1', 'guest', self.domain.uuid, 'vda', DISK, '', DISK,
            CopyOptions(**options), Ending.PIVOT, None,
        )  # fmt: skip
        ledger: Any = types.SimpleNamespace(clock=lambda: self.now, note=lambda _text: None)
        return Pace(self.hypervisor, swap, ledger)

    def mirror(self) -> Mirror:
        told: Any = types.SimpleNamespace(
            snapshot=lambda: mock.Mock(diverges=False, progress=Progress()),
            throttle=self.limits.append,
        )
        return cast(Mirror, told)

    def second(self, pace: Pace) -> None:
        """A second in which the copy moves 64 MiB, and 100 writes take 100 ms each."""
        self.now += 1.0
        job = self.domain.jobs['vda']
        self.domain.jobs['vda'] = JobInfo(2, job.bandwidth, job.cur + (64 << 20), job.end)
        before = self.domain.written
        self.domain.written = WriteCounters(before.writes + 100, before.seconds + 10.0)
        self.assertTrue(pace.is_due(self.mirror()))
        pace.keep(self.mirror())
        self.assertFalse(pace.is_due(self.mirror()))

    def test_followed(self) -> None:
        pace = self.pace(latency_target=Seconds(0.01))
        for _ in range(4):
            self.second(pace)
        self.assertEqual(3, len(self.limits))
        self.assertEqual(sorted(self.limits, reverse=True), self.limits)

    def test_not_wanted(self) -> None:
        pace = self.pace()
        self.assertFalse(pace.is_due(self.mirror()))
        pace.keep(self.mirror())
        self.assertEqual([], self.domain.calls)

    def test_libvirt_that_does_not_answer(self) -> None:
        """The copy goes on as fast as before."""
        self.domain.fail('write_counters', exception.HypervisorUnavailable('no'))
        pace = self.pace(latency_target=Seconds(0.01))
        self.second(pace)
        self.assertEqual([], self.limits)


class ShareTest(testtools.TestCase):
    """A part of the budget is the copy's limit, and the ceiling of what follows its guest."""

    def setUp(self) -> None:
        super().setUp()
        self.hypervisor = FakeHypervisor()
        self.domain = self.hypervisor.add(FakeDomain())
        self.domain.jobs['vda'] = JobInfo(2, BytesPerSecond(0), 0, 1 << 30)
        self.limits: list[int] = []
        self.throttled: list[int] = []
        self.notes: list[str] = []
        self.owned: list[int] = []
        self.now = 100.0
        self.part = 50 << 20
        self.due = True
        self.most = 1 << 40
        self.failure: exception.BlockmirrorError | None = None

    # As Sharing

    counts = True

    def is_due(self) -> bool:
        return self.due

    def put_off(self) -> None:
        self.due = False

    def own(self, bandwidth: BytesPerSecond) -> BytesPerSecond:
        if self.failure:
            raise self.failure
        self.owned.append(min(bandwidth, self.most))
        self.part = self.owned[-1]
        return BytesPerSecond(self.part)

    def look(self, now: Callable[[], int | None], apply: Callable[[BytesPerSecond], None]) -> None:
        self.due = False
        if now() != self.part:
            apply(BytesPerSecond(self.part))

    def pace(self, **options: Any) -> Pace:
        swap = Swap(
            'swap-1', 'guest', self.domain.uuid, 'vda', DISK, '', DISK,
            CopyOptions(**options), Ending.PIVOT, None,
        )  # fmt: skip
        ledger: Any = types.SimpleNamespace(clock=lambda: self.now, note=self.notes.append)
        return Pace(self.hypervisor, swap, ledger, cast(Sharing, self))

    def mirror(self, state: JobState = JobState.COPYING) -> Mirror:
        told: Any = types.SimpleNamespace(
            snapshot=lambda: mock.Mock(diverges=False, progress=Progress()),
            set_speed=self.limits.append,
            throttle=self.throttled.append,
            state=state,
        )
        return cast(Mirror, told)

    def test_looked_at_when_it_is_time(self) -> None:
        pace = self.pace()
        self.assertEqual(2.5, pace.every)
        self.assertTrue(pace.is_due(self.mirror()))
        pace.keep(self.mirror())
        pace.keep(self.mirror())
        self.assertEqual([50 << 20], self.limits)
        self.assertFalse(pace.is_due(self.mirror()))

    def test_a_job_that_is_over(self) -> None:
        """It is not looked at again and again."""
        pace = self.pace()
        pace.keep(self.mirror(JobState.PIVOTING))
        self.assertEqual([], self.limits)
        self.assertFalse(pace.is_due(self.mirror()))

    def test_the_ceiling_of_a_target(self) -> None:
        pace = self.pace(latency_target=Seconds(3600.0))
        self.assertEqual(1.0, pace.every)
        pace.keep(self.mirror())
        self.assertEqual([50 << 20], self.limits)
        self.part, self.due = 60 << 20, True  # more: it gets there by itself
        pace.keep(self.mirror())
        self.assertEqual([50 << 20], self.limits)
        for _ in range(4):
            self.now += 1.0
            job = self.domain.jobs['vda']
            self.domain.jobs['vda'] = JobInfo(2, job.bandwidth, job.cur + (50 << 20), job.end)
            pace.keep(self.mirror())
        self.assertEqual([60 << 20], self.throttled)
        self.part, self.due = 20 << 20, True
        pace.keep(self.mirror())
        self.assertEqual([50 << 20, 20 << 20], self.limits)

    def test_what_an_operator_wants(self) -> None:
        pace = self.pace()
        pace.set_speed(self.mirror(), BytesPerSecond(7))
        self.assertEqual(([7], [7], []), (self.owned, self.limits, self.notes))
        self.most = 5
        pace.set_speed(self.mirror(), BytesPerSecond(9))
        self.assertEqual(['the budget leaves 5 bytes/s of 9 asked for'], self.notes)
        self.assertEqual([7, 5], self.limits)

    def test_what_fails_is_told_and_the_copy_goes_on(self) -> None:
        pace = self.pace()
        self.failure = exception.JournalUnusable('disk is full')
        pace.set_speed(self.mirror(), BytesPerSecond(7))
        self.assertIn('the speed could not be changed: disk is full', self.notes[0])
        self.failure = None
        away = exception.HypervisorUnavailable('away')
        self.domain.fail('job', away, away)
        pace.set_speed(self.mirror(), BytesPerSecond(7))
        self.assertIn('it is tried again: away', self.notes[1])
        self.due = True
        pace.keep(self.mirror())
        self.assertEqual([], self.limits)


class CopyModeTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.jobs: list[str] = []
        self.said: list[tuple[str, Any]] = []

        def execute(_monitor: object, command: str, arguments: Any = None) -> Any:
            if command == 'query-block-jobs':
                return [{'device': name} for name in self.jobs]
            self.said.append((command, arguments))
            return {}

        patcher = mock.patch('blockmirror_driver.virt.monitor.Monitor.execute', execute)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_the_disks_own_job(self) -> None:
        self.jobs = ['copy-vdaa-libvirt-9-format', 'copy-vda-libvirt-3-format', 'backup-vda-x']
        copy_mode.make_synchronous(FakeDomain(), 'vda')
        wanted = {
            'id': 'copy-vda-libvirt-3-format', 'type': 'mirror', 'copy-mode': 'write-blocking',
        }  # fmt: skip
        self.assertEqual([('block-job-change', wanted)], self.said)

    def test_no_job(self) -> None:
        self.jobs = ['copy-vdb-libvirt-3-format']
        self.assertRaises(exception.WrongState, copy_mode.make_synchronous, FakeDomain(), 'vda')
        self.assertEqual([], self.said)
