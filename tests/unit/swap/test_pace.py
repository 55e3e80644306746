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
from typing import Any, cast
from unittest import mock

import testtools

from blockmirror_driver import exception
from blockmirror_driver.mirror import copy_mode
from blockmirror_driver.mirror.engine import Mirror
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import Disk, RbdSource
from blockmirror_driver.swap.ledger import Ledger, Swap
from blockmirror_driver.swap.pace import Pace
from blockmirror_driver.swap.request import Ending
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
        ledger = cast(Ledger, types.SimpleNamespace(note=self.notes.append))
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
