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
"""A budget that processes share: who waits, what each may move, and what dies meanwhile."""

from __future__ import annotations

import signal

import pytest

from tests.functional.base import MIB
from tests.functional.command import Running
from tests.functional.test_faults import FaultTestCase
from tests.lab.deadline import wait_until
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume


class BudgetTestCase(FaultTestCase):
    def begun(self, guest: Guest, destination: Volume, *options: object) -> Running:
        """A swap, by a process of its own."""
        return self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), '--events', 'jsonl', *options
        )

    def waiting(self, guest: Guest, destination: Volume, *options: object) -> Running:
        """One that waits for its turn."""
        running = self.begun(guest, destination, '--budget-wait', 120, *options)
        running.wait_event(lambda event: 'waiting for its turn' in event.get('detail', ''))
        self.assertEqual({}, guest.domain.blockJobInfo('vda', 0) or {})
        shown = self.command.run('waiting', '-f', 'json').json
        mine = [row for row in shown if row['domain'] == guest.name]
        self.assertIn(f'pid {running.process.pid}', [row['owner'] for row in mine])
        self.assertEqual({'vda'}, {row['disk'] for row in mine})
        return running


class TurnTest(BudgetTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command.configure(max_concurrent_swaps=1)
        self.old = [self.volume(kind, filled=True) for kind in ('file', 'nfs')]
        self.new = [self.volume(kind) for kind in ('rbd', 'iscsi')]
        self.guests = [self.writing_guest(volume) for volume in self.old]

    def hurry(self) -> None:
        """Let the first copy be over soon."""
        self.guests[0].domain.blockJobSetSpeed('vda', 0, 0)

    def assert_both_moved(self) -> None:
        for guest, volume in zip(self.guests, self.new, strict=True):
            guest.wait_acked(20)
            self.assert_on(guest, volume)
        self.assert_nothing_left()
        for guest, volume in zip(self.guests, self.new, strict=True):
            self.assert_survived(guest, volume)

    def test_the_second_waits_for_the_first(self) -> None:
        """Of two processes; both end well, and no write of either guest is lost (P1)."""
        first = self.copying(self.guests[0], self.new[0])
        second = self.waiting(self.guests[1], self.new[1])
        self.hurry()
        self.assert_ok(first.wait())
        self.assert_ok(second.wait())
        self.assertEqual([], self.command.run('waiting', '-f', 'json').json)
        self.assert_both_moved()

    def test_the_first_is_killed_while_the_second_waits(self) -> None:
        """Its job goes on, and so counts, until recover has brought it to its end (P6)."""
        first = self.copying(self.guests[0], self.new[0])
        second = self.waiting(self.guests[1], self.new[1])
        first.kill()
        first.wait()
        plan = self.command.run(
            'plan', self.guests[1].name, 'vda', self.connection(self.new[1]), '-f', 'json'
        )
        self.assertEqual(3, plan.code, plan.out)
        (told,) = (check['detail'] for check in plan.json if check['check'] == 'budget')
        self.assertIn('1 of 1 swaps of this host are running', told)
        self.assertEqual({}, self.guests[1].domain.blockJobInfo('vda', 0) or {})
        self.hurry()
        self.assert_ok(self.command.run('recover'))
        self.assert_ok(second.wait())
        self.assert_both_moved()

    @pytest.mark.campaign
    def test_one_that_waits_is_interrupted_or_killed(self) -> None:
        """Nothing of it is there, and nobody waits for it (P3)."""
        first = self.copying(self.guests[0], self.new[0])
        killed = self.waiting(self.guests[1], self.new[1])
        interrupted = self.waiting(self.guests[1], self.new[1])
        interrupted.kill(signal.SIGINT)
        self.assert_error(interrupted.wait(), 5, 'nothing was changed')
        killed.kill()
        killed.wait()
        self.hurry()
        self.assert_ok(first.wait())
        self.assert_ok(self.swap(self.guests[1], self.new[1]))
        self.assert_both_moved()


class ShareTest(BudgetTestCase):
    def test_two_share_and_one_has_the_rest(self) -> None:
        """Each has half of the limit, as libvirt says; when one is over the other has all."""
        self.command.configure(max_concurrent_swaps=2, max_host_bandwidth=4 * MIB)
        old = [self.volume(kind, filled=True) for kind in ('file', 'nfs')]
        new = [self.volume(kind) for kind in ('rbd', 'nfs')]
        one, other = (self.writing_guest(volume) for volume in old)
        first = self.begun(one, new[0], '--buf-size', '1MiB')
        swap_id = first.wait_copied(1)['swap_id']
        self.assertEqual(4 * MIB, self.limit(one))
        second = self.begun(other, new[1], '--buf-size', '1MiB')
        second.wait_copied(1)
        self.assertEqual([2 * MIB] * 2, [self.limit(one), self.limit(other)])
        shown = self.command.run('show', swap_id, '-f', 'json')
        self.assertEqual(2 * MIB, shown.json['bandwidth'])
        first.kill(signal.SIGINT)
        self.assert_error(first.wait(), 5, 'cancelled')
        wait_until(lambda: self.limit(other) == 4 * MIB, 30, 'the second has all of it')
        second.kill(signal.SIGINT)
        self.assert_error(second.wait(), 5, 'cancelled')
        for guest, volume in zip((one, other), old, strict=True):
            guest.wait_acked(20)
            self.assert_on(guest, volume)
        self.assert_nothing_left()
        for guest, volume in zip((one, other), old, strict=True):
            self.assert_survived(guest, volume)
