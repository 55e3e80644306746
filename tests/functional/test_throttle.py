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
"""A copy that gives way to its guest."""

from __future__ import annotations

import pytest

from tests.functional.base import MIB
from tests.functional.test_faults import FaultTestCase
from tests.lab.deadline import wait_until
from tests.lab.guest.guest import Guest


class ThrottleTest(FaultTestCase):
    @pytest.mark.campaign
    def test_a_target_that_is_never_met(self) -> None:
        """Slowed down to the floor while the guest writes, and let go when it does not."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination, '--latency-target', 0.000001)
        wait_until(lambda: self.limit(guest) <= 1.2 * MIB, 60, 'the copy is slowed down')
        self.assertGreaterEqual(self.limit(guest), MIB)
        self.assertEqual(0, guest.stop_writers().errors)
        wait_until(lambda: self.limit(guest) >= 2 * MIB, 60, 'the copy goes faster again')
        self.assertLessEqual(self.limit(guest), 4 * MIB)
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        self.assert_ok(running.wait())
        self.assert_on(guest, destination)

    @pytest.mark.campaign
    def test_it_begins_slowly_and_is_let_go(self) -> None:
        """What more than 32 MiB/s does to the guest is not known before."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), '--latency-target', 3600
        )
        seen: list[int] = []
        wait_until(lambda: self.noted(guest, seen) >= 64 * MIB, 60, 'the limit has been doubled')
        self.assertEqual(32 * MIB, seen[0])
        self.assert_ok(running.wait())
        self.assert_moved(guest, destination)

    def noted(self, guest: Guest, seen: list[int]) -> int:
        """The limit of the job, 0 before there is one; appended when it is new."""
        limit = self.limit(guest)
        if limit and limit not in seen:
            seen.append(limit)
        return limit

    @pytest.mark.campaign
    def test_a_target_that_is_always_met(self) -> None:
        """Nothing is touched, nor is the limit that an operator gave."""
        source, destination = self.volume('nfs', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination, '--latency-target', 3600)
        running.wait_copied(16 * MIB)
        self.assertEqual(4 * MIB, self.limit(guest))
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        self.assert_ok(running.wait())
        self.assert_moved(guest, destination)
