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
"""One block job on real parts, driven by ``mirror/`` alone, without a swap around it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from blockmirror_driver import exception
from blockmirror_driver.mirror.engine import Mirror, MirrorSnapshot
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.mirror.states import Cause, JobState
from blockmirror_driver.mirror.witness import is_unready
from blockmirror_driver.model import BytesPerSecond, Seconds
from blockmirror_driver.virt.connection import Hypervisor
from blockmirror_driver.virt.domain import JobInfo
from blockmirror_driver.xml import disk as xml_disk
from tests.functional.base import FILLED, MIB, SIZE, LabTestCase
from tests.lab import oracle
from tests.lab.deadline import wait_until
from tests.lab.guest.guest import Guest
from tests.lab.volumes import BlockVolume, Volume

S = JobState
#: Slow enough for a test to do something in mid-copy: a filled volume takes 10 s and more.
SLOW = BytesPerSecond(4 * MIB)
#: Nothing here takes longer, or something is broken (seconds).
LIMIT = Seconds(120.0)


class MirrorTestCase(LabTestCase):
    """Mirrors on a connection of their own."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.lab.mend)
        self.hypervisor = Hypervisor(self.lab.uri, call_timeout=Seconds(20.0)).open()
        self.addCleanup(self.hypervisor.close)
        self.seen: list[MirrorSnapshot] = []

    def mirror(self, guest: Guest, destination: Volume, **options: Any) -> Mirror:
        domain = self.hypervisor.domain(guest.name)
        made = Mirror(
            self.hypervisor,
            domain,
            'vda',
            source=domain.live_disk('vda').disk.source,
            destination=xml_disk.parse(destination.disk_xml('vda')),
            options=CopyOptions(**options),
            on_change=self.seen.append,
        )
        self.addCleanup(made.close)
        return made

    def started(self, guest: Guest, destination: Volume, **options: Any) -> Mirror:
        """A copy that has begun to move data."""
        made = self.mirror(guest, destination, **{'bandwidth': SLOW, **options})
        made.start()
        made.wait((), timeout=LIMIT, interrupt=lambda: made.snapshot().progress.cur > 0)
        self.assertIs(made.state, S.COPYING)
        return made

    def ready(self, guest: Guest, destination: Volume, **options: Any) -> Mirror:
        made = self.mirror(guest, destination, **options)
        made.start()
        self.assertIs(made.wait({S.READY}, timeout=LIMIT), S.READY, str(made.snapshot()))
        return made


class WaysTest(MirrorTestCase):
    """A copy that goes as it should."""

    def check_pivot(self, guest: Guest, destination: Volume, mirror: Mirror) -> None:
        guest.wait_acked(20)
        self.assertIs(mirror.pivot(), S.PIVOTED, str(mirror.snapshot()))
        self.assert_on(guest, destination)
        guest.wait_acked(20)
        self.assert_survived(guest, destination)

    def test_copy_and_pivot(self) -> None:
        """P1: nfs to rbd under a writing guest; the states are told in order."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        mirror = self.ready(guest, destination)
        self.check_pivot(guest, destination, mirror)
        states = list(dict.fromkeys(told.state for told in self.seen))
        self.assertEqual([S.COPYING, S.READY, S.PIVOTING, S.PIVOTED], states)

    def test_synchronous_writes_and_every_parameter(self) -> None:
        """libvirt and QEMU take all that CopyOptions can say."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        mirror = self.ready(
            guest,
            destination,
            synchronous_writes=True,
            granularity=65536,
            buf_size=4 * MIB,
            bandwidth=64 * MIB,
        )
        self.check_pivot(guest, destination, mirror)

    def test_rebase_to_a_file(self) -> None:
        """The older call, on a transient domain."""
        source, destination = self.volume('nfs', filled=True), self.volume('file')
        guest = self.writing_guest(source, persistent=False)
        mirror = self.ready(guest, destination, method='rebase')
        self.check_pivot(guest, destination, mirror)

    def test_rebase_to_a_loop_device(self) -> None:
        """The same with COPY_DEV, slow enough for its bandwidth to be seen as bytes/s."""
        source, destination = self.volume('file', filled=True), self.volume('block')
        assert isinstance(destination, BlockVolume)
        guest = self.writing_guest(source, persistent=False)
        mirror = self.started(guest, destination, method='rebase')
        job = self.hypervisor.domain(guest.name).job('vda')
        self.assertEqual(SLOW, job.bandwidth if job else None)
        mirror.set_speed(BytesPerSecond(0))
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.READY)
        self.check_pivot(guest, destination, mirror)

    def test_rebase_of_a_persistent_domain_is_refused(self) -> None:
        """Before libvirt is asked, and in our words."""
        source, destination = self.volume('file'), self.volume('file')
        mirror = self.mirror(self.guest(source), destination, method='rebase')
        error = self.assertRaises(exception.Refused, mirror.start)
        self.assertIn('transient', str(error))

    def test_finish(self) -> None:
        """An abort of a ready copy leaves all that was acknowledged before it."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        mirror = self.ready(guest, destination)
        guest.wait_acked(50)
        acked = guest.acked()
        self.assertIs(mirror.abort(), S.ABORTED)
        self.assertTrue(mirror.snapshot().end_confirmed, str(mirror.snapshot()))
        report = oracle.check(destination.read_back(), acked, FILLED, exact=False)
        self.assertTrue(report.ok, report)
        self.assert_on(guest, source)
        self.assert_survived(guest, source)

    def test_cancel_in_mid_copy_and_copy_again(self) -> None:
        """P3: the guest is on the source; the same destination can be used again."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        mirror = self.started(guest, destination)
        self.assertIs(mirror.abort(), S.ABORTED)
        self.assertIs(mirror.snapshot().cause, Cause.CANCELED)
        self.assert_on(guest, source)
        self.check_pivot(guest, destination, self.ready(guest, destination))

    def test_speed(self) -> None:
        """A limit that would take for ever is lifted, and the copy becomes ready."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        mirror = self.started(guest, destination, bandwidth=BytesPerSecond(1024))
        self.assertRaises(exception.TimedOut, mirror.wait, {S.READY}, timeout=Seconds(3.0))
        self.assertIs(mirror.state, S.COPYING, 'a pause is no stall')
        mirror.set_speed(BytesPerSecond(0))
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.READY)
        self.check_pivot(guest, destination, mirror)

    def test_a_cursor_that_has_arrived_is_held_back_until_ready(self) -> None:
        """What the looks at a copy near its end rely on: all is moved, and QEMU pauses."""
        guest, destination = self.guest(self.volume('file', filled=True)), self.volume('nfs')
        domain = self.hypervisor.domain(guest.name)

        def job() -> JobInfo:
            found = domain.job('vda')
            assert found is not None
            return found

        # A buffer is moved at once, and paid for by a pause afterwards.
        limits = {'bandwidth': BytesPerSecond(SIZE // 4), 'buf_size': 2 * SIZE}
        mirror = self.mirror(guest, destination, **limits)
        mirror.start()
        wait_until(lambda: is_unready(job()), 30, 'the cursor arrives')
        shown = domain.live_disk('vda').mirror
        self.assertEqual('no', shown.ready if shown else None)
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.READY)
        arrived = job()
        self.assertEqual((arrived.end, False), (arrived.cur, is_unready(arrived)))
        self.assertIs(mirror.abort(), S.ABORTED)


class FaultsTest(MirrorTestCase):
    """What goes wrong, and what is said of it."""

    def test_another_size(self) -> None:
        """libvirt accepts it; the job fails at once, and says so."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        for size in (SIZE - MIB, SIZE + MIB):
            mirror = self.mirror(guest, self.volume('nfs', size))
            mirror.start()
            self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.FAILED)
            self.assertIs(mirror.snapshot().cause, Cause.JOB_FAILED)
        self.assert_on(guest, source)
        self.assert_survived(guest, source)

    @pytest.mark.campaign
    def test_a_guest_that_writes_more_than_the_copy_may_move(self) -> None:
        """Each small write dirties 64 KiB: named as the reason, and cured by more speed."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        mirror = self.started(guest, destination)
        self.assertRaises(exception.NotConverging, mirror.wait, {S.READY}, timeout=Seconds(40.0))
        mirror.set_speed(BytesPerSecond(0))
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.READY)
        self.assertIs(mirror.abort(), S.ABORTED)
        self.assert_on(guest, source)

    def test_a_second_job(self) -> None:
        """Refused, and the first goes on."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        first = self.started(guest, self.volume('rbd'))
        self.assertRaises(exception.DiskBusy, self.mirror(guest, self.volume('nfs')).start)
        self.assertIs(first.abort(), S.ABORTED)
        self.assert_survived(guest, source)

    def test_the_guest_is_destroyed_in_mid_copy(self) -> None:
        """No job event comes: the end of the guest is what is heard."""
        guest = self.writing_guest(self.volume('nfs', filled=True))
        mirror = self.started(guest, self.volume('rbd'))
        guest.domain.destroy()
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.FAILED)
        self.assertIs(mirror.snapshot().cause, Cause.GUEST_GONE)
        self.assertFalse(mirror.snapshot().may_have_switched)

    def test_libvirtd_killed_in_mid_copy(self) -> None:
        """The job goes on; READY is found although nobody tells it again."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        mirror = self.started(guest, destination)
        self.lab.libvirtd.kill()
        self.lab.libvirtd.start()
        mirror.set_speed(BytesPerSecond(0))
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.READY, str(mirror.snapshot()))
        self.assertIs(mirror.pivot(), S.PIVOTED)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_libvirtd_killed_within_the_pivot(self) -> None:
        """P2: whatever is reported is what the guest runs on, or it is said not to be known.

        libvirt 9.0 may come back with the old source in its XML although QEMU has switched.
        """
        for delay_s in (0.0, 0.005, 0.02):
            source, destination = self.volume('file', filled=True), self.volume('file')
            guest = self.writing_guest(source)
            mirror = self.ready(guest, destination)
            kill = threading.Timer(delay_s, self.lab.libvirtd.kill)
            start = threading.Timer(delay_s + 0.5, self.lab.libvirtd.start)
            kill.start()
            start.start()
            state = mirror.pivot()
            start.join()
            if state is S.READY:
                state = mirror.pivot()
            if state is S.PIVOTED:
                # libvirtd may have died before it wrote the stored XML, which the swap mends.
                self.assert_on(guest, destination, inactive=False)
                self.assert_survived(guest, destination)
            else:
                self.assertTrue(mirror.snapshot().may_have_switched, str(mirror.snapshot()))
            guest.destroy()

    def test_a_destination_that_stops_and_goes_on(self) -> None:
        """STALLED, without any event; going on by itself when the server does."""
        source, destination = self.volume('file', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        mirror = self.started(guest, destination, bandwidth=8 * MIB, stall_after=6.0)
        self.lab.iscsi.stop()
        self.assertIs(mirror.wait({S.STALLED}, timeout=LIMIT), S.STALLED)
        guest.wait_acked(20)
        self.lab.iscsi.cont()
        self.assertIs(mirror.wait({S.COPYING}, timeout=LIMIT), S.COPYING)
        mirror.set_speed(BytesPerSecond(0))
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.READY)
        self.assertIs(mirror.pivot(), S.PIVOTED)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_an_abort_while_the_destination_hangs(self) -> None:
        """It returns at its deadline, as often as it is asked; the guest is unharmed."""
        source, destination = self.volume('file', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        mirror = self.started(guest, destination, abort_timeout=3.0, stall_after=6.0)
        self.lab.iscsi.stop()
        self.assertIs(mirror.wait({S.STALLED}, timeout=LIMIT), S.STALLED)
        self.assertIs(mirror.abort(), S.ABORTING)
        self.assertIs(mirror.abort(), S.ABORTING)
        guest.wait_acked(20)
        self.lab.iscsi.cont()
        self.assertIs(mirror.wait((), timeout=LIMIT), S.ABORTED)
        self.assertIs(mirror.snapshot().cause, Cause.CANCELED)
        self.assert_on(guest, source)
        self.assert_survived(guest, source)


class TakingUpTest(MirrorTestCase):
    """Jobs that somebody else started, or ended."""

    def test_what_another_left(self) -> None:
        """A second object takes it up, in mid-copy and when ready."""
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        self.started(guest, destination).close()
        second = self.mirror(guest, destination)
        self.assertIs(second.adopt(), S.COPYING)
        second.set_speed(BytesPerSecond(0))
        self.assertIs(second.wait({S.READY}, timeout=LIMIT), S.READY)
        second.close()
        third = self.mirror(guest, destination)
        self.assertIs(third.adopt(), S.READY)
        self.assertIs(third.pivot(), S.PIVOTED)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_a_foreign_job(self) -> None:
        """P4: it is neither taken up nor touched."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        theirs = self.ready(guest, self.volume('nfs'))
        ours = self.mirror(guest, self.volume('rbd'))
        self.assertRaises(exception.StateUnknown, ours.adopt)
        self.assertIs(theirs.wait({S.READY}), S.READY)
        self.assertIs(theirs.abort(), S.ABORTED)

    def test_another_tool_pivots(self) -> None:
        """We did not ask, and find out all the same."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        mirror = self.ready(guest, destination)
        guest.domain.blockJobAbort('vda', 2)  # VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
        self.assertIs(mirror.wait({S.PIVOTED}, timeout=LIMIT), S.PIVOTED)
        self.assert_on(guest, destination)
        self.assert_survived(guest, destination)

    def test_another_tool_aborts(self) -> None:
        """And is named as the cause."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        mirror = self.started(guest, self.volume('nfs'))
        guest.domain.blockJobAbort('vda', 0)
        self.assertIs(mirror.wait({S.READY}, timeout=LIMIT), S.ABORTED)
        self.assertIs(mirror.snapshot().cause, Cause.CANCELED_ELSEWHERE)
        self.assert_on(guest, source)
