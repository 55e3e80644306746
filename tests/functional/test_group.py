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
"""Several disks of a guest moved together, on real parts."""

from __future__ import annotations

import itertools
import os
import signal
from typing import Any

import pytest
from lxml import etree

from tests.functional.base import FILLED, MIB, SIZE
from tests.functional.command import Result
from tests.functional.test_faults import FaultTestCase
from tests.lab import oracle
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

_names = itertools.count(1)
DEVS = ('vda', 'vdb', 'vdc')


class GroupTest(FaultTestCase):
    def travellers(self, *kinds: str, agent: bool = True) -> tuple[Guest, list[Volume]]:
        """A guest that writes to all of its disks."""
        volumes = [self.volume(kind, filled=True) for kind in kinds]
        disks = [one.disk_xml(dev) for one, dev in zip(volumes, DEVS, strict=False)]
        name = f'bm-group-{os.getpid()}-{next(_names)}'
        guest = Guest(self.lab, Domain(name, disks, guest_agent=agent))
        self.addCleanup(guest.destroy)
        guest.start()
        for dev in DEVS[: len(kinds)]:
            guest.start_writers(dev, blocks=256, delay_us=4000)
        guest.wait_acked(60)
        return guest, volumes

    def argv(self, guest: Guest, *volumes: Volume) -> list[str]:
        pairs = zip(DEVS, volumes, strict=False)
        return [
            'swap-group', guest.name, *(f'{dev}={self.connection(one)}' for dev, one in pairs),
        ]  # fmt: skip

    def assert_on_all(self, guest: Guest, *volumes: Volume) -> None:
        """Live and stored XML name these volumes, and no job is left."""
        for flags in (0, 2):
            tree = etree.fromstring(guest.domain.XMLDesc(flags))
            found = {
                str(disk.xpath('string(target/@dev)')): etree.tostring(disk).decode()
                for disk in tree.iter('disk')
            }
            for dev, volume in zip(DEVS, volumes, strict=False):
                self.assertIn(volume.name, found[dev])
                self.assertNotIn('<mirror', found[dev])

    def assert_all_survived(self, guest: Guest, *volumes: Volume) -> None:
        """Every write to every disk is there."""
        self.assertEqual(0, guest.stop_writers().errors)
        for dev, volume in zip(DEVS, volumes, strict=False):
            report = oracle.check(volume.read_back(), guest.acked(dev), FILLED, exact=True)
            self.assertTrue(report.ok, report)
        # Before the volumes that were made last.
        guest.destroy()

    def said(self, result: Result) -> str:
        return next(line for line in result.err.splitlines() if 'all ended within' in line)

    def test_three_disks(self) -> None:
        self.command.configure(max_concurrent_swaps=3)
        guest, _old = self.travellers('nfs', 'rbd', 'file')
        new = [self.volume(kind) for kind in ('rbd', 'iscsi', 'nfs')]
        done = self.command.run(*self.argv(guest, *new), '--quiesce', 'always', '-f', 'json')
        self.assert_ok(done)
        self.assertEqual(['cleaned'] * 3, [row['state'] for row in done.json])
        self.assertIn('1 file systems frozen', self.said(done))
        self.assertEqual((False, 1), guest.freezes())
        guest.wait_acked(60)
        self.assert_on_all(guest, *new)
        self.assert_nothing_left(guest)
        self.assert_all_survived(guest, *new)

    @pytest.mark.campaign
    def test_copies_of_one_moment(self) -> None:
        """With --finish: what was acknowledged before is in them, and no write is half there."""
        guest, old = self.travellers('file', 'file')
        new = [self.volume(kind) for kind in ('rbd', 'nfs')]
        before = {dev: guest.acked(dev) for dev in DEVS[:2]}
        self.assert_ok(self.command.run(*self.argv(guest, *new), '--finish'))
        self.assertEqual((False, 1), guest.freezes())
        for dev, volume in zip(DEVS, new, strict=False):
            report = oracle.check(volume.read_back(), before[dev], FILLED, exact=False)
            self.assertTrue(report.ok, report)
        self.assert_on_all(guest, *old)
        self.assert_nothing_left(guest)
        self.assert_all_survived(guest, *old)

    def test_one_that_fails_takes_all_back(self) -> None:
        guest, old = self.travellers('file', 'nfs')
        new: list[Any] = [self.volume('rbd'), self.volume('nbd')]
        argv = self.argv(guest, *new)
        running = self.command.start(*argv, '--bandwidth', '4MiB', '--events', 'jsonl')
        running.wait_copied(8 * MIB)
        new[1].delete()
        self.assert_error(running.wait(), 6, 'vdb: ')
        guest.wait_acked(60)
        self.assert_on_all(guest, *old)
        self.assert_nothing_left(guest)
        self.assert_all_survived(guest, *old)

    @pytest.mark.campaign
    def test_one_that_waits_until_there_is_room_for_all(self) -> None:
        """One of two places is free, which is not enough; both disks begin when both are."""
        self.command.configure(max_concurrent_swaps=2)
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        other = self.writing_guest(source)
        first = self.held(other, destination)
        (row,) = self.command.run('list', '-f', 'json').json
        guest, _old = self.travellers('file', 'nfs')
        new = [self.volume('rbd'), self.volume('iscsi')]
        group = self.command.start(
            *self.argv(guest, *new), '--budget-wait', 120, '--events', 'jsonl'
        )
        group.wait_event(lambda event: 'waiting for its turn' in event.get('detail', ''))
        shown = self.command.run('waiting', '-f', 'json').json
        self.assertEqual([(1, 'vda'), (1, 'vdb')], [(one['place'], one['disk']) for one in shown])
        self.assertIn('2 more are wanted', shown[0]['reason'])
        self.assertEqual({}, guest.domain.blockJobInfo('vda', 0) or {})
        self.assert_ok(self.command.run('pivot', row['swap_id']))
        self.assert_ok(first.wait())
        self.assert_ok(group.wait())
        guest.wait_acked(60)
        self.assert_on_all(guest, *new)
        self.assert_on(other, destination)
        self.assert_nothing_left()
        self.assert_survived(other, destination)
        self.assert_all_survived(guest, *new)

    @pytest.mark.campaign
    def test_refused_as_a_whole(self) -> None:
        guest, old = self.travellers('file', 'file', agent=False)
        good, small = self.volume('rbd'), self.volume('nfs', SIZE - MIB)
        self.assert_error(self.command.run(*self.argv(guest, good, small)), 3, 'vdb: size')
        self.command.configure(max_concurrent_swaps=1)
        self.assert_error(self.command.run(*self.argv(guest, good, small)), 3, '2 more are wanted')
        self.command.configure(max_concurrent_swaps=4)
        self.assert_error(self.command.run(*self.argv(guest, good, good)), 2, 'same volume')
        self.assert_error(
            self.command.run('swap-group', guest.name, 'vda'), 2, 'vda=connection.json'
        )
        self.assertEqual([], self.command.run('list', '-f', 'json').json)
        # No agent: the group goes back where it is to be frozen, and on where it may be.
        other = self.volume('nfs')
        argv = self.argv(guest, good, other)
        self.assert_error(self.command.run(*argv, '--quiesce', 'always'), 5, 'frozen')
        self.assert_on_all(guest, *old)
        self.assert_nothing_left(guest)
        done = self.command.run(*argv)
        self.assert_ok(done)
        self.assertIn('not quiesced', self.said(done))
        self.assert_on_all(guest, good, other)
        self.assert_all_survived(guest, good, other)

    @pytest.mark.campaign
    def test_interrupted(self) -> None:
        guest, old = self.travellers('file', 'file')
        new = [self.volume(kind) for kind in ('rbd', 'nfs')]
        argv = self.argv(guest, *new)
        running = self.command.start(*argv, '--bandwidth', '4MiB', '--events', 'jsonl')
        running.wait_copied(8 * MIB)
        running.kill(signal.SIGINT)
        self.assert_error(running.wait(), 5, 'cancelled')
        self.assert_on_all(guest, *old)
        self.assert_nothing_left(guest)
        self.assert_all_survived(guest, *old)

    def test_killed_while_frozen(self) -> None:
        """SIGKILL between freezing and thawing: recover thaws first, and ends each swap."""
        guest, old = self.travellers('file', 'file')
        new = [self.volume(kind) for kind in ('rbd', 'nfs')]
        running = self.command.start(
            *self.argv(guest, *new), '--events', 'jsonl', crash='before:pivoting'
        )
        running.wait()
        self.assertTrue(guest.freezes()[0])
        self.assertEqual(5, self.command.run('recover', '--cancel').code)
        self.assertFalse(guest.freezes()[0])
        guest.wait_acked(60)
        self.assert_nothing_left(guest)
        self.assert_all_survived(guest, *old)
