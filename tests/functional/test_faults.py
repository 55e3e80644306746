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
"""What breaks in the middle: each promise's answer, on real parts (P1 to P4, P9)."""

from __future__ import annotations

import signal

import libvirt
import pytest
from lxml import etree

from blockmirror_driver.mirror import copy_mode
from tests.functional.base import MIB, SLOW, LabTestCase
from tests.functional.command import Result, Running
from tests.lab import oracle
from tests.lab.guest.guest import Guest
from tests.lab.volumes import NbdVolume, Volume

#: Seconds for which a write of the guest may take while a server that is not its own hangs.
STALL_BOUND = 2.0
_BYTES = libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES


def _name(disk: etree._Element) -> str | None:
    source = disk.find('source')
    return None if source is None else source.get('name') or source.get('file')


class FaultTestCase(LabTestCase):
    def copying(self, guest: Guest, destination: Volume, *options: object) -> Running:
        """A swap that is copying, slowly."""
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), '--bandwidth', SLOW,
            '--events', 'jsonl', *options,
        )  # fmt: skip
        running.wait_copied(1)
        return running

    def held(self, guest: Guest, destination: Volume, *options: object) -> Running:
        """A swap that is ready and waits."""
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), '--hold',
            '--events', 'jsonl', *options,
        )  # fmt: skip
        running.wait_state('held')
        return running

    def limit(self, guest: Guest) -> int:
        """Bytes per second that the job may move; 0 also without one."""
        job = guest.domain.blockJobInfo('vda', _BYTES) or {}
        return int(job.get('bandwidth', 0))

    def assert_back(self, guest: Guest, source: Volume) -> None:
        """The guest is on its source, with every write, and nothing is left."""
        guest.wait_acked(20)
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)

    def assert_moved(self, guest: Guest, destination: Volume) -> None:
        """The guest is on its destination, with every write, and nothing is left."""
        guest.wait_acked(20)
        self.assert_on(guest, destination)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, destination)


class CancelTest(FaultTestCase):
    def test_interrupt_while_copying(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination)
        running.kill(signal.SIGINT)
        self.assert_error(running.wait(), 5, 'cancelled')
        self.assert_back(guest, source)

    def test_cancel_from_another_process_when_ready(self) -> None:
        source, destination = self.volume('rbd', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        running = self.held(guest, destination)
        self.assert_ok(self.command.run('cancel', self.swap_id()))
        self.assert_error(running.wait(), 5, 'cancelled')
        self.assert_back(guest, source)

    def test_terminate_leaves_the_job_and_recover_takes_it_up(self) -> None:
        source, destination = self.volume('iscsi', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination)
        running.kill(signal.SIGTERM)
        self.assertEqual(130, running.wait().code)
        self.assertTrue(guest.domain.blockJobInfo('vda', 0))
        guest.domain.blockJobSetSpeed('vda', 0, 0)
        self.assert_ok(self.command.run('recover'))
        self.assert_moved(guest, destination)

    def test_speed_changes_while_it_runs(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination)
        self.assert_ok(self.command.run('speed', self.swap_id(), '8MiB'))
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES
        speed = guest.domain.blockJobInfo('vda', flags)['bandwidth']
        self.assertEqual(8 * MIB, speed)
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        self.assert_ok(running.wait())
        self.assert_moved(guest, destination)

    def test_a_copy_that_was_left_running_is_pivoted_later(self) -> None:
        """``copy`` without --wait returns at once; recover takes the job where one wants it."""
        source, destination = self.volume('iscsi', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        path = self.connection(destination)
        self.assert_ok(self.command.run('copy', guest.name, 'vda', path))
        self.assert_ok(self.command.run('recover', self.swap_id(), '--pivot'))
        self.assert_moved(guest, destination)

    def test_a_copy_that_was_waited_for_is_finished_later(self) -> None:
        """``copy --wait`` returns when both sides are the same and leaves the job."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        path = self.connection(destination)
        self.assert_ok(self.command.run('copy', guest.name, 'vda', path, '--wait'))
        self.assertTrue(guest.domain.blockJobInfo('vda', 0))
        guest.stop_writers()
        self.assert_ok(self.command.run('recover', self.swap_id(), '--finish'))
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        # Nobody wrote since, so that the copy is the same to the byte.
        self.assertTrue(oracle.same(source.read_back(), destination.read_back()))

    def test_finish_leaves_a_consistent_copy(self) -> None:
        """Without a pivot: every write acknowledged before the end of the job is in the copy."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.command.start(
            'copy', guest.name, 'vda', self.connection(destination), '--reuse-external',
            '--transient-job', '--finish', '--wait', '--events', 'jsonl',
        )  # fmt: skip
        self.assert_ok(running.wait())
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, source)


class GuestGoneTest(FaultTestCase):
    def test_destroyed_while_copying(self) -> None:
        """No job event comes; the source has every acknowledged write."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination)
        guest.stat()
        guest.domain.destroy()
        self.assert_error(running.wait(), 6, 'guest')
        self.assert_nothing_left(guest)
        self.assertIn(source.name, guest.domain.XMLDesc(2))
        guest.boot()
        self.assert_on(guest, source)

    def test_powered_off_when_ready(self) -> None:
        source, destination = self.volume('rbd', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        running = self.held(guest, destination)
        guest.poweroff()
        self.assert_error(running.wait(), 6, 'guest')
        self.assert_nothing_left(guest)
        guest.boot()
        self.assert_on(guest, source)


class ConvergenceTest(FaultTestCase):
    #: Each write of the guest dirties a whole MiB, some hundred a second.
    LOSING = ('--granularity', '1048576', '--bandwidth', '16MiB', '--convergence-window', '4')

    @pytest.mark.campaign
    def test_a_race_that_is_lost(self) -> None:
        """Cancelled by policy; one that goes on says so; synchronous writes always end."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        done = self.swap(guest, destination, *self.LOSING, '--convergence', 'abort')
        self.assert_error(done, 4, 'the guest writes', 'the copy moves')
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), *self.LOSING,
            '--events', 'jsonl',
        )  # fmt: skip
        running.wait_event(lambda event: 'no end in sight' in str(event.get('detail')))
        swap_id = self.command.run('list', '-f', 'json', '--active').json[0]['swap_id']
        self.assert_ok(self.command.run('cancel', swap_id))
        self.assertEqual(5, running.wait().code)
        self.assertIn('no end in sight', self.command.run('show', swap_id).out)
        self.assert_ok(self.swap(guest, destination, *self.LOSING, '--synchronous-writes'))
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_a_race_that_is_won_in_the_end(self) -> None:
        """A running copy is made synchronous where QEMU can, and refused where it can't."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        done = self.swap(
            guest, destination, *self.LOSING, '--convergence', 'synchronous', '-f', 'json'
        )
        if self.lab.connect().getVersion() < copy_mode.MIN_QEMU:
            self.assert_error(done, 3, 'can not make a running copy synchronous')
            self.assert_back(guest, source)
        else:
            self.assert_ok(done)
            self.assertIn('writes go to both sides', str(done.json['notes']))
            self.assert_moved(guest, destination)


class DestinationTest(FaultTestCase):
    def test_killed_while_copying(self) -> None:
        """iscsi says nothing when its server dies; the stall is seen and the copy cancelled."""
        source, destination = self.volume('rbd', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        guest.reset()
        running = self.copying(
            guest, destination, '--stall-after', 3, '--stall-timeout', 4, '--abort-timeout', 5
        )
        self.lab.iscsi.kill()
        self.addCleanup(self.lab.mend)
        result = running.wait()
        self.assert_error(result, 4, 'recover')
        # The guest did not notice; its job ends once the server is back.
        guest.wait_acked(20)
        self.lab.iscsi.start()
        self.assert_ok_or_cancelled(self.command.run('recover'))
        self.assert_back(guest, source)

    @pytest.mark.campaign
    def test_another_attempt(self) -> None:
        """A server that dies and comes back: the first copy fails, a later one succeeds."""
        source, destination = self.volume('file', filled=True), self.volume('nbd')
        assert isinstance(destination, NbdVolume)
        guest = self.writing_guest(source)
        running = self.copying(guest, destination, '--attempts', 99, '--attempt-interval', 1)
        destination.kill()
        running.wait_event(lambda event: event['state'] == 'reverted')
        destination.serve()
        again = running.wait_event(lambda event: event['event'] == 'start')
        self.assert_ok(self.command.run('speed', again['swap_id'], '0'))
        self.assert_ok(running.wait())
        ends = [one['state'] for one in self.command.run('list', '-f', 'json').json]
        self.assertEqual(['reverted', 'cleaned'], ends)
        self.assert_moved(guest, destination)

    @pytest.mark.campaign
    def test_no_other_attempt_once_told_to_stop(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('nbd')
        assert isinstance(destination, NbdVolume)
        guest = self.writing_guest(source)
        running = self.copying(guest, destination, '--attempts', 99, '--attempt-interval', 600)
        destination.kill()
        running.wait_event(lambda event: event['event'] == 'error')
        running.kill(signal.SIGINT)
        self.assert_error(running.wait(), 5, 'between two attempts')
        self.assert_back(guest, source)

    def test_stopped_and_started_again(self) -> None:
        """No event comes; the copy is seen to stall, and goes on when the server does."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination, '--stall-after', 2)
        self.addCleanup(self.lab.mend)
        self.lab.nfs.stop()
        running.wait_event(lambda e: (e.get('progress') or {}).get('stalled_for', 0) >= 2)
        guest.wait_acked(20)
        self.lab.nfs.cont()
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        self.assert_ok(running.wait())
        self.assert_moved(guest, destination)

    def test_status_and_cancel_answer_while_it_hangs(self) -> None:
        """P9: with the OSD stopped, list, show and cancel do not wait for it."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination, '--abort-timeout', 4)
        self.addCleanup(self.lab.mend)
        self.lab.ceph.osd.stop()
        swap = self.swap_id()
        self.assert_ok(self.command.run('show', swap, timeout=30))
        self.assert_ok(self.command.run('cancel', swap, timeout=30))
        self.assert_error(running.wait(60), 5, 'recover')
        guest.wait_acked(20)
        self.lab.ceph.osd.cont()
        self.assert_ok_or_cancelled(self.command.run('recover'))
        self.assert_back(guest, source)

    def test_no_pivot_to_a_destination_that_hangs(self) -> None:
        """P9: the guest would have a disk that hangs; it is switched when the server is back."""
        source, destination = self.volume('rbd', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        guest.reset()
        running = self.held(guest, destination, '--probe-timeout', 3, '--stall-timeout', 60)
        self.addCleanup(self.lab.mend)
        self.lab.iscsi.stop()
        self.assert_ok(self.command.run('pivot', self.swap_id()))
        guest.wait_acked(200)
        self.assert_on_with_job(guest, source)
        self.lab.iscsi.cont()
        self.assert_ok(running.wait())
        self.assertLess(guest.stat().longest_us / 1e6, STALL_BOUND)
        self.assert_moved(guest, destination)

    @pytest.mark.campaign
    def test_no_abort_while_the_destination_hangs(self) -> None:
        """P9: QEMU would close it in its main loop, and the guest would stand still."""
        for kind in ('iscsi', 'nfs', 'rbd'):
            with self.subTest(kind):
                source, destination = self.volume('file', filled=True), self.volume(kind)
                guest = self.writing_guest(source)
                running = self.copying(
                    guest, destination, '--abort-timeout', 3, '--probe-timeout', 3
                )
                guest.reset()
                self.addCleanup(self.lab.mend)
                server = {'rbd': self.lab.ceph.osd}.get(kind) or self.lab.parts[kind]
                server.stop()
                running.kill(signal.SIGINT)
                self.assert_error(running.wait(60), 5, 'recover')
                guest.wait_acked(200)
                self.assertLess(guest.stat().longest_us / 1e6, STALL_BOUND)
                server.cont()
                self.assertEqual(5, self.command.run('recover').code)
                self.assert_back(guest, source)
                guest.destroy()

    def assert_on_with_job(self, guest: Guest, source: Volume) -> None:
        """The guest is on its source, and the job waits."""
        live = self.source_of(guest)
        self.assertIn(source.name, str(_name(live)))
        self.assertIsNotNone(live.find('mirror'))

    def assert_ok_or_cancelled(self, result: Result) -> None:
        """Recovery of a cancelled swap ends with what it was cancelled for."""
        self.assertIn(result.code, (0, 4, 5, 6), result.err)


class LibvirtdTest(FaultTestCase):
    def test_restarted_while_copying(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination)
        self.lab.libvirtd.kill()
        self.lab.libvirtd.start()
        self.assert_ok(self.command.run('speed', self.swap_id(), '0'))
        self.assert_ok(running.wait())
        self.assert_moved(guest, destination)

    def test_killed_within_the_pivot(self) -> None:
        """The outcome may be either; what we say is what is, or that it is not known.

        libvirt 9.0 may come back with the old source in its XML although QEMU has switched. A
        copy that is whole is not taken back, also if the pivot was not asked for yet.
        """
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.held(guest, destination, '--pivot-timeout', 15)
        self.assert_ok(self.command.run('pivot', self.swap_id(), '--no-wait'))
        running.wait_state('pivoting')
        self.lab.libvirtd.kill()
        self.lab.libvirtd.start()
        result = running.wait()
        if result.code == 0:
            self.assert_moved(guest, destination)
        else:
            self.assert_error(result, 7, 'blockmirror resolve')
            record = self.command.run('show', self.swap_id(), '-f', 'json').json
            self.assertEqual('unknown', record['state'])

    def test_stopped_when_the_command_starts(self) -> None:
        """libvirtd that does not answer is one line, not a hang."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        self.addCleanup(self.lab.libvirtd.cont)
        self.command.configure(call_timeout=3)
        self.lab.libvirtd.stop()
        result = self.swap(guest, destination)
        self.lab.libvirtd.cont()
        self.assert_error(result, 3, 'libvirt')
        self.assert_back(guest, source)


class ForeignHandsTest(FaultTestCase):
    def test_another_tool_aborts_our_job(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.copying(guest, destination)
        guest.domain.blockJobAbort('vda', 0)
        result = running.wait()
        self.assertEqual(6, result.code, result.err)
        self.assert_back(guest, source)

    def test_another_tool_pivots_our_job(self) -> None:
        """The evidence says that the guest has moved, so the swap is rolled forward."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.held(guest, destination)
        guest.domain.blockJobAbort('vda', libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        self.assert_ok(running.wait())
        self.assert_moved(guest, destination)

    def test_the_domain_is_redefined_while_the_swap_is_held(self) -> None:
        """P5: the stored XML names a third volume by then; done means that it does not."""
        source, destination, third = (
            self.volume('file', filled=True),
            self.volume('rbd'),
            self.volume('file'),
        )
        guest = self.writing_guest(source)
        running = self.held(guest, destination)
        stale = guest.domain.XMLDesc(2).replace(source.name, third.name)
        self.lab.connect().defineXML(stale)
        self.assertIn(third.name, guest.domain.XMLDesc(2))
        self.assert_ok(self.command.run('pivot', self.swap_id()))
        self.assert_ok(running.wait())
        self.assertNotIn(third.name, guest.domain.XMLDesc(2))
        self.assert_moved(guest, destination)

    def test_the_source_is_never_written_after_the_pivot(self) -> None:
        """P2: the old volume's content stands still from the pivot on."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        self.assert_ok(self.swap(guest, destination))
        before = source.read_back().read_bytes()
        guest.wait_acked(200)
        self.assertEqual(before, source.read_back().read_bytes())
        self.assert_moved(guest, destination)
