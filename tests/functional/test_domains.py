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
"""Persistent and transient domains, other users, cold starts, and the older call."""

from __future__ import annotations

import datetime as dt

import pytest

from blockmirror_driver.swap.journal import Journal
from blockmirror_driver.swap.states import SwapState
from tests.functional.base import LabTestCase
from tests.lab.volumes import BlockVolume, FileVolume

#: VIR_DOMAIN_PAUSED.
PAUSED = 3


class DomainsTest(LabTestCase):
    def test_a_transient_domain(self) -> None:
        """blockCopy works on a transient domain, which has no stored XML."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source, persistent=False)
        self.assert_ok(self.swap(guest, destination))
        self.assertFalse(guest.domain.isPersistent())
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_the_domain_stays_persistent_all_the_time(self) -> None:
        """The domain is never undefined: no such event comes during a swap."""
        source, destination = self.volume('rbd', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), '--hold', '--events', 'jsonl'
        )
        running.wait_state('held')
        self.assertTrue(guest.domain.isPersistent())
        self.assert_ok(self.command.run('pivot', self.swap_id()))
        self.assert_ok(running.wait())
        self.assertTrue(guest.domain.isPersistent())
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    @pytest.mark.campaign
    def test_held_until_a_time(self) -> None:
        """Both sides are kept the same until then, and the pivot comes by itself."""
        source, destination = self.volume('nfs', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        until = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=20)
        self.assert_ok(self.swap(guest, destination, '--hold-until', until.isoformat()))
        journal = Journal(self.command.journal_path)
        steps = journal.steps(self.swap_id())
        self.assertIn(SwapState.HELD, [step.state for step in steps])
        (asked,) = [step.at for step in steps if step.state is SwapState.PIVOTING]
        self.assertGreaterEqual(asked, until.timestamp())
        self.assert_on(guest, destination)
        guest.wait_acked(20)
        self.assert_survived(guest, destination)

    def test_qemu_as_another_user_with_dynamic_ownership(self) -> None:
        """QEMU without root moves from a file to rbd and to a file that libvirt gives it."""
        source, middle = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source, user='+64055:+64055')
        self.assert_ok(self.swap(guest, middle))
        self.assert_on(guest, middle)
        last = self.volume('iscsi')
        self.assert_ok(self.swap(guest, last))
        self.assert_on(guest, last)
        self.assert_survived(guest, last)

    def test_cold_start_from_the_stored_xml(self) -> None:
        """The secrets of the new disk outlive the swap, and libvirtd: the guest boots from it."""
        for kind, options in (('iscsi', {}), ('rbd', {'give_keyring': True})):
            with self.subTest(kind):
                source = self.volume('file', filled=True)
                destination = self.volume(kind, **options)
                guest = self.writing_guest(source)
                self.assert_ok(self.swap(guest, destination))
                guest.wait_acked(20)
                guest.stop_writers()
                guest.poweroff()
                self.lab.libvirtd.restart()
                guest.boot()
                self.assert_on(guest, destination)
                guest.start_writers(blocks=128)
                guest.wait_acked(20)
                self.assert_survived(guest, destination)
                guest.destroy()

    def test_a_stale_stored_xml_is_brought_in_line(self) -> None:
        """P5: the stored XML named a third volume; afterwards it names the destination."""
        source, destination, third = (
            self.volume('file', filled=True),
            self.volume('rbd'),
            self.volume('file'),
        )
        guest = self.writing_guest(source)
        stale = guest.domain.XMLDesc(2).replace(source.name, third.name)
        self.lab.connect().defineXML(stale)
        self.assertIn(third.name, guest.domain.XMLDesc(2))
        self.assert_ok(self.swap(guest, destination))
        self.assert_on(guest, destination)
        self.assertNotIn(third.name, guest.domain.XMLDesc(2))
        self.assert_survived(guest, destination)

    def test_a_paused_guest_is_moved(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        guest.domain.suspend()
        self.assert_ok(self.swap(guest, destination))
        self.assertEqual(PAUSED, guest.domain.state()[0])
        guest.domain.resume()
        guest.wait_acked(20)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)


class PortalsTest(LabTestCase):
    def test_the_first_portal_that_answers(self) -> None:
        """Of several portals the first that answers is taken, and the plan says which."""
        source, destination = self.volume('rbd', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        real = destination.connection_info()['data']
        lists = {
            'target_portals': ['127.0.0.1:9', real['target_portal']],
            'target_iqns': [real['target_iqn']] * 2,
            'target_luns': [real['target_lun']] * 2,
        }
        path = self.connection(destination, **lists)
        planned = self.command.run('plan', guest.name, 'vda', path, '-f', 'json')
        self.assert_ok(planned)
        notes = [row['detail'] for row in planned.json if row['check'] == 'note']
        self.assertIn(f'portal {real["target_portal"]} of 2 taken', ' '.join(notes))
        self.assert_ok(self.swap(guest, destination, **lists))
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)


class RebaseTest(LabTestCase):
    """virDomainBlockRebase with COPY, all that libvirt allows: local, transient."""

    def test_to_a_file(self) -> None:
        source, destination = self.volume('rbd', filled=True), self.volume('file')
        assert isinstance(destination, FileVolume)
        guest = self.writing_guest(source, persistent=False)
        result = self.command.run(
            'copy', guest.name, 'vda', destination.path, '--method', 'rebase',
            '--reuse-external', '--pivot', '--wait',
        )  # fmt: skip
        self.assert_ok(result)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_to_a_loop_device(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('block')
        assert isinstance(destination, BlockVolume)
        guest = self.writing_guest(source, persistent=False)
        result = self.command.run(
            'copy', guest.name, 'vda', destination.device, '--method', 'rebase', '--blockdev',
            '--reuse-external', '--pivot', '--wait',
        )  # fmt: skip
        self.assert_ok(result)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_a_persistent_domain_is_refused(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('file')
        assert isinstance(destination, FileVolume)
        guest = self.writing_guest(source)
        result = self.command.run(
            'copy', guest.name, 'vda', destination.path, '--method', 'rebase',
            '--reuse-external', '--pivot', '--wait',
        )  # fmt: skip
        self.assert_error(result, 3, 'transient')
        self.assert_on(guest, source)
        self.assert_survived(guest, source)
