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
"""What is refused is refused in one line, and nothing has changed (P3, P9)."""

from __future__ import annotations

import signal

from tests.functional.base import MIB, SIZE, SLOW, LabTestCase
from tests.functional.silent import SilentServer
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

#: Seconds for which a guest's write may wait while a destination is found to be silent. The
#: guest's own disk is not touched by the probe; this is a tenth of the probe's deadline, far
#: from what the open in the guest's own process would cost.
STALL_BOUND = 2.0


class RefusalTestCase(LabTestCase):
    def refused(
        self,
        guest: Guest,
        source: Volume,
        destination: Volume,
        code: int,
        *words: str,
        **changes: object,
    ) -> None:
        """The swap ends with one line; the guest is untouched."""
        result = self.swap(guest, destination, **changes)
        self.assert_error(result, code, *words)
        self.assert_untouched(guest, source)

    def assert_untouched(self, guest: Guest, source: Volume) -> None:
        """The guest writes on, on its source, and nothing of ours is left."""
        guest.wait_acked(20)
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)


class WrongDestinationTest(RefusalTestCase):
    def test_sizes_are_compared_to_the_byte(self) -> None:
        """QEMU would fail after the start, without a reason; the plan says how many bytes."""
        source = self.volume('nfs', filled=True)
        guest = self.writing_guest(source)
        for kind in ('rbd', 'iscsi', 'nfs'):
            smaller = self.volume(kind, SIZE - MIB)
            self.refused(guest, source, smaller, 3, str(MIB), 'too small')
            larger = self.volume(kind, SIZE + MIB)
            self.refused(guest, source, larger, 3, str(MIB), 'too large')
        self.assert_survived(guest, source)

    def test_wrong_chap_password(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        self.refused(
            guest, source, destination, 3, 'Authentication', auth_password='not-the-password'
        )
        self.assert_survived(guest, source)

    def test_wrong_ceph_key(self) -> None:
        source = self.volume('file', filled=True)
        destination = self.volume('rbd', give_keyring=True)
        guest = self.writing_guest(source)
        wrong = 'AQBnotTheKeyAtAllAAAAAAAAAAAAAAAAAAAAA=='
        self.refused(guest, source, destination, 3, keyring=wrong)
        self.assert_survived(guest, source)

    def test_missing_image_target_and_file(self) -> None:
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        for kind, word, changes in (
            ('rbd', 'No such file', {'name': 'volumes/there-is-no-such-image'}),
            ('iscsi', 'not found', {'target_iqn': 'iqn.2026-11.org.blockmirror:no-such'}),
            ('nfs', 'NOENT', {'name': 'there-is-no-such-file'}),
        ):
            self.refused(guest, source, self.volume(kind), 3, word, **changes)
        self.assert_survived(guest, source)

    def test_the_guest_s_own_volume(self) -> None:
        source = self.volume('rbd', filled=True)
        guest = self.writing_guest(source)
        self.refused(guest, source, source, 3, 'already vda')
        self.assert_survived(guest, source)

    def test_encrypted_shared_and_read_only_volumes(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        self.refused(guest, source, destination, 3, 'encrypted', encrypted=True)
        self.refused(guest, source, destination, 3, 'read-only', access_mode='ro')
        self.assert_survived(guest, source)

    def test_no_such_domain_disk_or_file(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        path = self.connection(destination)
        for args, code, word in (
            (('swap', 'no-such-domain', 'vda', path), 3, 'no-such-domain'),
            (('swap', guest.name, 'vdz', path), 3, 'vdz'),
            (('swap', guest.name, 'vda', path + '.missing'), 2, 'missing'),
            (('swap', guest.name, 'vda', path, '--granularity', '3000'), 2, 'granularity'),
        ):
            self.assert_error(self.command.run(*args), code, word)
            self.assert_untouched(guest, source)
        self.assert_survived(guest, source)


class BusyTest(RefusalTestCase):
    def test_a_second_swap_of_the_disk(self) -> None:
        source, first, second = (
            self.volume('file', filled=True),
            self.volume('rbd'),
            self.volume('nfs'),
        )
        guest = self.writing_guest(source)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(first), '--bandwidth', SLOW,
            '--events', 'jsonl',
        )  # fmt: skip
        running.wait_copied(1)
        refused = self.swap(guest, second)
        self.assert_error(refused, 3, 'block job')
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        self.assert_ok(running.wait())
        self.assert_on(guest, first)
        self.assert_survived(guest, first)

    def test_another_tool_s_job_is_left_alone(self) -> None:
        """P4: a job that is not ours is neither aborted nor waited for."""
        source, theirs, ours = (
            self.volume('file', filled=True),
            self.volume('file'),
            self.volume('rbd'),
        )
        guest = self.writing_guest(source)
        guest.domain.blockCopy('vda', theirs.disk_xml('vda'), {'bandwidth': 4 * MIB}, 2 | 4)
        self.assert_error(self.swap(guest, ours), 3, 'block job')
        self.assertTrue(guest.domain.blockJobInfo('vda', 0))
        guest.domain.blockJobAbort('vda', 0)
        self.assert_untouched(guest, source)
        self.assert_survived(guest, source)


class SilentDestinationTest(RefusalTestCase):
    """P9: a destination that accepts and never answers is refused; the guest does not notice."""

    def _silent(self, kind: str, **changes: object) -> None:
        source, destination = self.volume('file', filled=True), self.volume(kind)
        guest = self.writing_guest(source)
        guest.reset()
        self.command.configure(probe_timeout=4)
        self.refused(guest, source, destination, 3, 'did not answer', **changes)
        stat = self.assert_survived(guest, source)
        self.assertLess(stat.longest_us / 1e6, STALL_BOUND)

    def test_rbd(self) -> None:
        with SilentServer() as server:
            self._silent('rbd', hosts=[server.address], ports=[str(server.port)])
            self.assertTrue(server.connected.is_set())

    def test_iscsi(self) -> None:
        with SilentServer() as server:
            self._silent('iscsi', target_portal=f'{server.address}:{server.port}')
            self.assertTrue(server.connected.is_set())

    def test_nfs(self) -> None:
        """The portmapper accepts and never answers: it is stopped."""
        self.addCleanup(self.lab.nfs.rpcbind.cont)
        self.lab.nfs.rpcbind.stop()
        self._silent('nfs')

    def test_rbd_that_hangs_between_the_probe_and_the_open(self) -> None:
        """What remains after the probe is bounded by librados' own timeouts, if they are set."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        guest.reset()
        bounded = self.command.home / 'ceph.conf'
        bounded.write_text('[client]\nclient_mount_timeout = 3\nrados_mon_op_timeout = 3\n')
        self.command.configure(rbd_config_file=bounded)
        self.addCleanup(self.lab.mend)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), crash='stop:copying'
        )
        running.wait_stopped()
        self.lab.ceph.mon.stop()
        running.kill(signal.SIGCONT)
        result = running.wait()
        self.lab.ceph.mon.cont()
        self.assert_error(result, 3, 'timed out')
        self.assert_untouched(guest, source)
        stat = self.assert_survived(guest, source)
        self.assertLess(stat.longest_us / 1e6, 3 + STALL_BOUND)

    def test_a_real_server_that_hangs(self) -> None:
        """tgtd is stopped before the swap: the plan finds out, not the guest."""
        source, destination = self.volume('rbd', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        self.command.configure(probe_timeout=4)
        self.addCleanup(self.lab.iscsi.cont)
        self.lab.iscsi.stop()
        self.assert_error(self.swap(guest, destination), 3, 'did not answer')
        self.lab.iscsi.cont()
        self.assert_untouched(guest, source)
        self.assert_ok(self.swap(guest, destination))
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)
