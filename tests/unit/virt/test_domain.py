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
"""The adapter: what each method sends, and what it makes of the answer."""

from __future__ import annotations

from typing import Any, cast

import libvirt
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, BytesPerSecond
from blockmirror_driver.virt import handles
from blockmirror_driver.virt.domain import CopyFlag, Domain, DomainState, JobInfo, RebaseFlag
from tests.unit.virt.stand_ins import DirectHypervisor, Recorder, libvirt_error

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
DISK = """<disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='/v/{0}'/><target dev='vda' bus='virtio'/></disk>"""
DOMAIN = f"""<domain type='qemu'{{0}}><name>guest</name><uuid>{UUID}</uuid>
<devices>{{1}}</devices></domain>"""
LIVE = DOMAIN.format(" id='3'", DISK.format('live'))
STORED = DOMAIN.format('', DISK.format('stored'))


class DomainCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dom = Recorder(isActive=1, isPersistent=1, XMLDesc=self.xml_desc)
        self.conn = Recorder(lookupByUUIDString=lambda _uuid: self.dom)
        self.domain = Domain(DirectHypervisor(self.conn), name='guest', uuid=UUID)

    @staticmethod
    def xml_desc(flags: int = 0) -> str:
        return STORED if flags & libvirt.VIR_DOMAIN_XML_INACTIVE else LIVE

    def sent(self) -> tuple[Any, ...]:
        """The last call on the virDomain."""
        return self.dom.calls[-1]


class TestReading(DomainCase):
    def test_plain_questions(self) -> None:
        self.dom.answers.update(state=[3, 1], blockInfo=[1 << 30, 5, 6])
        self.assertTrue(self.domain.is_active())
        self.assertTrue(self.domain.is_persistent())
        self.assertIs(DomainState.PAUSED, self.domain.state())
        self.assertEqual(Bytes(1 << 30), self.domain.capacity('vda'))
        self.assertEqual(Bytes(6), self.domain.allocation('vda'))
        self.assertEqual(LIVE, self.domain.xml())
        self.assertEqual(STORED, self.domain.xml(inactive=True))

    def test_xml_is_never_secure(self) -> None:
        self.domain.xml()
        self.domain.xml(inactive=True)
        for _name, flags in self.dom.calls:
            self.assertFalse(flags & libvirt.VIR_DOMAIN_XML_SECURE)

    def test_live_disk(self) -> None:
        self.assertIn('/v/live', repr(self.domain.live_disk('vda').disk.source))

    def test_no_live_disk_of_a_guest_that_does_not_run(self) -> None:
        """XMLDesc then gives the stored definition, which must not pass as the live one."""
        self.dom.answers['XMLDesc'] = STORED
        self.assertRaises(exception.DomainNotFound, self.domain.live_disk, 'vda')

    def test_stored_disk(self) -> None:
        found = self.domain.stored_disk('vda')
        assert found is not None
        self.assertIn('/v/stored', repr(found.disk.source))

    def test_a_transient_domain_stores_none(self) -> None:
        """libvirt would answer the live definition instead."""
        self.dom.answers['isPersistent'] = 0
        self.assertIsNone(self.domain.stored_disk('vda'))

    def test_both_disks_by_one_call(self) -> None:
        stored, live = self.domain.disks('vda')
        assert stored is not None
        self.assertIn('/v/stored', repr(stored.disk.source))
        self.assertIn('/v/live', repr(live.disk.source))
        self.assertEqual(1, len(self.conn.calls))

    def test_both_disks_where_one_is_not_there(self) -> None:
        with_none = DOMAIN.format('', '')
        self.dom.answers['XMLDesc'] = lambda flags: with_none if flags else LIVE
        self.assertIsNone(self.domain.disks('vda')[0])
        self.dom.answers['isPersistent'] = 0
        self.assertIsNone(self.domain.disks('vda')[0])
        self.assertRaises(exception.DiskNotFound, self.domain.disks, 'vdz')
        self.dom.answers['XMLDesc'] = STORED
        for dev in ('vda', 'vdz'):
            self.assertRaises(exception.DomainNotFound, self.domain.disks, dev)

    def test_unknown_disk(self) -> None:
        self.assertRaises(exception.DiskNotFound, self.domain.live_disk, 'vdz')
        self.assertRaises(exception.DiskNotFound, self.domain.stored_disk, 'vdz')

    def test_no_size_of_a_guest_that_does_not_run(self) -> None:
        """libvirt would answer for a local file."""
        self.dom.answers['isActive'] = 0
        self.assertRaises(exception.DomainNotFound, self.domain.capacity, 'vda')

    def test_job(self) -> None:
        self.dom.answers['blockJobInfo'] = {'type': 2, 'bandwidth': 7, 'cur': 1, 'end': 9}
        self.assertEqual(JobInfo(2, BytesPerSecond(7), 1, 9), self.domain.job('vda'))
        self.assertEqual(('blockJobInfo', 'vda', 1), self.sent())

    def test_no_job(self) -> None:
        self.dom.answers['blockJobInfo'] = {}
        self.assertIsNone(self.domain.job('vda'))

    def test_gone(self) -> None:
        self.conn.answers['lookupByUUIDString'] = libvirt_error(42, 'Domain not found')
        self.assertRaises(exception.DomainNotFound, self.domain.state)


class TestHandles(DomainCase):
    def setUp(self) -> None:
        super().setUp()
        handles.keep(self.conn)  # type: ignore[arg-type]
        self.addCleanup(handles.forget, self.conn)  # type: ignore[arg-type]

    def test_a_domain_is_looked_up_once_a_connection(self) -> None:
        self.domain.is_active()
        self.domain.xml()
        self.assertEqual([('lookupByUUIDString', UUID)], self.conn.calls)
        handles.forget(self.conn)  # type: ignore[arg-type]
        self.domain.is_active()
        self.assertEqual(2, len(self.conn.calls))

    def test_one_that_is_not_there_is_looked_for_again(self) -> None:
        gone = self.conn.answers['lookupByUUIDString']
        self.conn.answers['lookupByUUIDString'] = libvirt_error(42, 'Domain not found')
        self.assertRaises(exception.DomainNotFound, self.domain.is_active)
        self.conn.answers['lookupByUUIDString'] = gone
        self.domain.is_active()

    def test_one_that_goes_says_so_itself(self) -> None:
        self.domain.is_active()
        self.dom.answers['isActive'] = libvirt_error(42, 'Domain not found')
        self.assertRaises(exception.DomainNotFound, self.domain.is_active)

    def test_those_of_old_guests_go(self) -> None:
        for number in range(1000):
            handles.of(self.conn, str(number))  # type: ignore[arg-type]
        self.assertLessEqual(len(handles._kept[id(self.conn)]), 64)


class TestJobs(DomainCase):
    def test_block_copy_sends_what_was_given(self) -> None:
        flags = CopyFlag.REUSE_EXT | CopyFlag.TRANSIENT_JOB
        self.domain.block_copy(
            'vda',
            '<disk/>',
            bandwidth=BytesPerSecond(1000),
            granularity=65536,
            buf_size=1 << 20,
            flags=flags,
        )
        params = {'bandwidth': 1000, 'granularity': 65536, 'buf-size': 1 << 20}
        self.assertEqual(('blockCopy', 'vda', '<disk/>', params, 6), self.sent())

    def test_block_copy_leaves_zeros_to_the_hypervisor(self) -> None:
        self.domain.block_copy('vda', '<disk/>')
        self.assertEqual(('blockCopy', 'vda', '<disk/>', {}, 0), self.sent())

    def test_block_rebase_counts_in_bytes(self) -> None:
        flags = RebaseFlag.COPY | RebaseFlag.REUSE_EXT
        self.domain.block_rebase('vda', '/v/x', bandwidth=BytesPerSecond(1000), flags=flags)
        self.assertEqual(('blockRebase', 'vda', '/v/x', 1000, 64 | 8 | 2), self.sent())

    def test_a_destination_that_does_not_open(self) -> None:
        error = libvirt_error(1, "unable to execute QEMU command 'blockdev-add': no such image")
        self.dom.answers.update(blockCopy=error, blockRebase=error)
        for call in (self.domain.block_copy, self.domain.block_rebase):
            self.assertRaises(exception.DestinationUnusable, call, 'vda', 'x')

    def test_the_disk_is_busy(self) -> None:
        self.dom.answers['blockCopy'] = libvirt_error(83, 'already in active block job')
        self.assertRaises(exception.DiskBusy, self.domain.block_copy, 'vda', '<disk/>')

    def test_pivot_and_abort_never_wait(self) -> None:
        self.domain.pivot('vda')
        self.assertEqual(('blockJobAbort', 'vda', 3), self.sent())
        self.domain.abort('vda')
        self.assertEqual(('blockJobAbort', 'vda', 1), self.sent())

    def test_no_job_to_end(self) -> None:
        self.dom.answers['blockJobAbort'] = libvirt_error(8, 'does not have an active block job')
        for call in (self.domain.pivot, self.domain.abort):
            error = self.assertRaises(exception.HypervisorUnavailable, call, 'vda')
            self.assertEqual((8, False), (error.code, error.outcome_unknown))

    def test_speed_is_bytes(self) -> None:
        self.domain.set_speed('vda', BytesPerSecond(5000))
        self.assertEqual(('blockJobSetSpeed', 'vda', 5000, 1), self.sent())


class TestWriting(DomainCase):
    NO_METADATA = libvirt_error(80, 'metadata not found: Requested metadata element')

    def test_mark_goes_where_the_domain_is(self) -> None:
        live, config = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
        for active, persistent, flags in ((1, 1, live | config), (1, 0, live), (0, 1, config)):
            self.dom.answers.update(isActive=active, isPersistent=persistent)
            self.domain.set_mark('<swap/>')
            self.assertEqual(('<swap/>', flags), (self.sent()[2], self.sent()[-1]))

    def test_removing_a_mark_that_is_not_there(self) -> None:
        self.dom.answers['setMetadata'] = self.NO_METADATA
        self.domain.set_mark(None)
        self.assertRaises(exception.HypervisorUnavailable, self.domain.set_mark, '<swap/>')

    def test_reading_the_mark(self) -> None:
        self.dom.answers['metadata'] = '<swap/>'
        self.assertEqual('<swap/>', self.domain.mark())
        self.dom.answers['metadata'] = self.NO_METADATA
        self.assertIsNone(self.domain.mark())
        self.dom.answers['metadata'] = libvirt_error(1, 'boom')
        self.assertRaises(exception.HypervisorUnavailable, self.domain.mark)

    def test_rewriting_keeps_what_xml_does_not_show(self) -> None:
        """The graphics password is in the definition only with SECURE."""
        self.domain.rewrite_stored(lambda text: text.replace('stored', 'new'))
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        self.assertEqual(('XMLDesc', flags), self.sent())
        self.assertEqual(('defineXML', STORED.replace('stored', 'new')), self.conn.calls[-1])

    def test_a_transient_domain_is_never_defined(self) -> None:
        """Defining would make it persistent, and it would come back from the dead."""
        self.dom.answers['isPersistent'] = 0
        self.assertRaises(exception.WrongState, self.domain.rewrite_stored, str)
        self.assertNotIn('defineXML', [call[0] for call in self.conn.calls])

    def test_repr_names_the_guest(self) -> None:
        self.assertEqual(f"Domain('guest', {UUID})", repr(self.domain))
        self.assertIsInstance(cast(object, self.domain.hypervisor), DirectHypervisor)
