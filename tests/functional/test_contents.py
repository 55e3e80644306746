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
"""Contents are compared before the pivot: P1, on the word of nobody but the two volumes."""

from __future__ import annotations

import os
import signal

import pytest

from tests.functional.base import MIB
from tests.functional.command import Running
from tests.functional.test_crashes import SIGKILLED
from tests.functional.test_faults import FaultTestCase
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

COMPARED = 'contents compared: 96.0 MiB are the same on both sides'
#: Nobody writes there, and it is no hole.
STILL = 40 * MIB


class ContentsTest(FaultTestCase):
    def hot_guest(self, volume: Volume) -> Guest:
        """A guest that writes a few blocks over and over again, as fast as it can."""
        guest = self.guest(volume)
        guest.start_writers(writers=12, blocks=1)
        guest.wait_acked(20)
        return guest

    def comparing(self, guest: Guest, destination: Volume, *options: object) -> list[object]:
        """The arguments of a swap that compares."""
        path = self.connection(destination)
        return ['swap', guest.name, 'vda', path, '--verify-contents', *options]

    def impatient(
        self, guest: Guest, destination: Volume, *options: object, more: str = ''
    ) -> Running:
        """A swap that compares, and has to pause its guest.

        Even what a guest writes all the time is the same on both sides sooner or later, so that
        the first look is told what it finds.
        """
        argv = self.comparing(guest, destination, *options)
        return self.command.start(*argv, crash=f'impatient {more}'.strip())

    @pytest.mark.campaign
    def test_each_kind(self) -> None:
        """From each kind and to each kind, while the guest writes here and there."""
        route = ('nfs', 'rbd', 'iscsi', 'file', 'block', 'nfs')
        source = self.volume(route[0], filled=True)
        guest = self.writing_guest(source)
        for kind in route[1:]:
            destination = self.volume(kind)
            done = self.command.run(*self.comparing(guest, destination, '-f', 'json'))
            self.assert_ok(done)
            self.assertIn(COMPARED, str(done.json['notes']))
            self.assert_on(guest, destination)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, destination)

    @pytest.mark.campaign
    def test_encrypted(self) -> None:
        """What is compared is what the guest sees."""
        source, destination = self.volume('file', filled=True), self.volume('iscsi', 98 * MIB)
        guest = self.writing_guest(source)
        key = self.command.home.parent / 'key'
        key.touch(mode=0o600)
        key.write_text(self.lab.credentials.luks_passphrase)
        self.addCleanup(key.unlink)
        path = self.connection(destination)
        self.assert_ok(self.command.run('format-luks', path, '--key-file', key))
        done = self.swap(
            guest, destination, '--key-file', key, '--verify-contents', '--allow-larger',
            '-f', 'json',
        )  # fmt: skip
        self.assert_ok(done)
        self.assertIn(COMPARED, str(done.json['notes']))
        guest.stop_writers()

    def test_a_block_that_is_not_the_same(self) -> None:
        """Somebody spoils the destination behind QEMU: it is found, and the guest stays."""
        for kind in ('file', 'iscsi'):
            with self.subTest(kind):
                source, destination = self.volume('rbd', filled=True), self.volume(kind)
                guest = self.writing_guest(source)
                argv = self.comparing(guest, destination)
                running = self.command.start(*argv, crash='stop:ready')
                running.wait_stopped()
                with destination.read_back().open('r+b') as backing:
                    os.pwrite(backing.fileno(), b'spoiled', STILL + 5)
                running.kill(signal.SIGCONT)
                self.assert_error(
                    running.wait(), 6, f'differ: 1 blocks of 65536 bytes, the first at {STILL}'
                )
                self.assert_back(guest, source)
                guest.destroy()

    @pytest.mark.campaign
    def test_blocks_that_never_stand_still(self) -> None:
        """The guest is paused for them, or, where it must not be, stays where it is."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.hot_guest(source)
        refused = self.impatient(guest, destination, '--verify-pause', 0).wait()
        self.assert_error(refused, 4, 'blocks change too fast', '--verify-pause')
        self.assert_on(guest, source)
        self.assert_nothing_left(guest)
        done = self.impatient(guest, destination, '--verify-pause', 20, '-f', 'json').wait()
        self.assert_ok(done)
        self.assertIn('the guest was paused for ', str(done.json['notes']))
        self.assertEqual(1, guest.domain.state()[0])
        self.assert_moved(guest, destination)

    @pytest.mark.campaign
    def test_a_guest_that_was_paused_stays_paused(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        guest.domain.suspend()
        done = self.command.run(*self.comparing(guest, destination, '-f', 'json'))
        self.assert_ok(done)
        self.assertNotIn('paused', str(done.json['notes']))
        self.assertEqual(3, guest.domain.state()[0])
        guest.domain.resume()
        self.assert_moved(guest, destination)

    def test_killed_while_the_guest_is_paused(self) -> None:
        """P6: recover lets the guest go on, and brings the swap to its end."""
        source, destination = self.volume('file', filled=True), self.volume('iscsi')
        guest = self.hot_guest(source)
        running = self.impatient(guest, destination, '--verify-pause', 20, more='after:suspend')
        self.assertEqual(SIGKILLED, running.wait().code)
        self.assertEqual(3, guest.domain.state()[0])
        self.assert_ok(self.command.run('recover'))
        self.assertEqual(1, guest.domain.state()[0])
        self.assert_moved(guest, destination)

    @pytest.mark.campaign
    def test_cancelled_while_comparing(self) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('rbd')
        guest = self.hot_guest(source)
        argv = self.comparing(guest, destination, '--events', 'jsonl')
        running = self.command.start(*argv, crash='endless')
        running.wait_event(lambda event: 'comparing contents' in event['detail'])
        running.kill(signal.SIGINT)
        self.assert_error(running.wait(), 5, 'cancelled')
        self.assert_back(guest, source)

    def test_an_image_format_is_refused(self) -> None:
        """Where which byte is only QEMU knows."""
        source, destination = self.volume('file', filled=True), self.volume('nfs')
        guest = self.writing_guest(source)
        done = self.swap(guest, destination, '--verify-contents', format='qcow2')
        self.assert_error(done, 3, 'qcow2', '--verify-contents')
        self.assert_back(guest, source)
