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
"""A destination that is said to be zeroed stays thin, and a wrong word loses nothing (P1)."""

from __future__ import annotations

import os

from blockmirror_driver.model import format_bytes
from blockmirror_driver.swap import requirements
from tests.functional.base import MIB, SIZE
from tests.functional.command import Result
from tests.functional.test_faults import FaultTestCase
from tests.lab import oracle
from tests.lab.guest.guest import Guest
from tests.lab.pattern import Fill
from tests.lab.volumes import Volume

#: Half of the source is filled, and the guest writes a block in each MiB of two thirds.
THIN = SIZE * 3 // 4
#: Where the source has a hole, and no guest writes.
HOLE = 70 * MIB + 5


class ZeroedTest(FaultTestCase):
    def zeroed(
        self, guest: Guest, destination: Volume, *options: object, crash: str = ''
    ) -> Result:
        """Swap to what is said to be zeroed."""
        path = self.connection(destination)
        argv = ['swap', guest.name, 'vda', path, '--target-zeroed', *options]
        return self.command.start(*argv, crash=crash).wait()

    def knows(self, guest: Guest, source: Volume) -> bool:
        """Whether libvirt and QEMU can be told; if they can't, all of it is refused."""
        lab = self.lab.connect()
        if (
            lab.getLibVersion() >= requirements.MIN_LIBVIRT_ZEROED
            and lab.getVersion() >= requirements.MIN_QEMU_ZEROED
        ):
            return True
        refused = self.zeroed(guest, self.volume('nfs'))
        self.assert_error(refused, 3, 'can not be told that a destination is zeroed')
        self.assert_back(guest, source)
        return False

    def test_it_stays_thin(self) -> None:
        """Where QEMU can not see holes, nor make any: it would write every zero."""
        for kinds in (('file', 'nfs'), ('rbd', 'block')):
            with self.subTest(kinds):
                source, destination = self.volume(kinds[0], filled=True), self.volume(kinds[1])
                guest = self.guest(source)
                guest.start_writers(blocks=64, stride=MIB, delay_us=2000)
                guest.wait_acked(20)
                if not self.knows(guest, source):
                    return
                done = self.zeroed(guest, destination)
                self.assert_ok(done)
                self.assertLess(destination.allocated(), THIN)
                self.assert_moved(guest, destination)
                guest.destroy()

    def test_it_is_looked_at(self) -> None:
        """One that is not zeroed is refused, on each backend."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        if not self.knows(guest, source):
            return
        old = Fill(seed=9, length=4 * MIB)
        for kind in ('nfs', 'rbd', 'iscsi', 'file', 'block'):
            destination = self.volume(kind)
            destination.write(old, old.length)
            refused = self.zeroed(guest, destination)
            self.assert_error(refused, 3, 'not zeroed', f'of {SIZE} is not 0')
        self.assert_back(guest, source)

    def test_what_took_too_long_is_compared(self) -> None:
        """A wrong word is found before the pivot, and a right one needs no more."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        if not self.knows(guest, source):
            return
        destination = self.volume('nfs')
        with destination.read_back().open('r+b') as backing:
            os.pwrite(backing.fileno(), b'old data', HOLE)
        refused = self.zeroed(guest, destination, crash='hurried')
        self.assert_error(refused, 3, 'zeroed', '--verify-contents')
        failed = self.zeroed(guest, destination, '--verify-contents', crash='hurried')
        first = HOLE // 65536 * 65536
        self.assert_error(failed, 6, f'differ: 1 blocks of 65536 bytes, the first at {first}')
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        done = self.zeroed(guest, self.volume('nfs'), '--verify-contents', crash='hurried')
        self.assert_ok(done)
        self.assertIn('contents compared', done.out)

    def test_what_it_costs_is_said(self) -> None:
        """Without a word QEMU writes every zero of a source that tells no holes."""
        source, destination = self.volume('nfs', filled=True), self.volume('file')
        guest = self.guest(source)
        argv = ('plan', guest.name, 'vda', self.connection(destination), '-f', 'json')
        (check,) = [row for row in self.command.run(*argv).json if row['check'] == 'thin']
        self.assertEqual('warning', check['result'])
        more = SIZE - source.allocated()
        self.assertIn(f'{format_bytes(more)} more are allocated', check['detail'])
        self.assert_ok(self.swap(guest, destination))
        self.assertAlmostEqual(more, destination.allocated() - source.allocated(), delta=MIB)

    def test_by_qmp(self) -> None:
        """``copy`` takes virsh's name of it, and QEMU is told without libvirt."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.guest(source)
        done = self.command.run(
            'copy', guest.name, 'vda', self.connection(destination),
            '--method', 'qmp', '--finish', '--dest-is-zero',
        )  # fmt: skip
        if self.lab.connect().getVersion() < requirements.MIN_QEMU_ZEROED:
            self.assert_error(done, 3, 'QEMU', 'can not be told that a destination is zeroed')
            return
        self.assert_ok(done)
        self.assertLess(destination.allocated(), THIN)
        self.assertTrue(oracle.same(source.read_back(), destination.read_back()))
