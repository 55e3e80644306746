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
"""What is read of an image before anything opens it, and how a failure to read it is told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Disk,
    Driver,
    FileSource,
    Host,
    Identity,
    NfsSource,
    RbdSource,
    Seconds,
)
from blockmirror_driver.volume import header

NFS = NfsSource(Host('192.0.2.1'), '/an,export', 'volume-1', Identity(7, 8))
QCOW2 = Driver(format='qcow2')
SECONDS = Seconds(2.0)


class HeaderTest(testtools.TestCase):
    def run_with(self, **effect: Any) -> mock.Mock:
        run = self.useFixture(fixtures.MockPatch('subprocess.run', **effect)).mock
        assert isinstance(run, mock.Mock)
        return run

    def refused(self, kind: type[exception.Refused], **effect: Any) -> str:
        self.run_with(**effect)
        error = self.assertRaises(kind, header.check, Disk(NFS, driver=QCOW2), SECONDS)
        return f'{error.message} {error.hint}'

    def test_a_raw_image_is_never_looked_at(self) -> None:
        run = self.run_with(side_effect=AssertionError)
        header.check(Disk(NFS), SECONDS)
        header.check(Disk(FileSource('/there/is/none')), SECONDS)
        run.assert_not_called()

    def test_a_raw_client_reads_with_a_deadline_and_commas_are_doubled(self) -> None:
        run = self.run_with(side_effect=FileNotFoundError)
        self.assertRaises(
            exception.DestinationUnusable, header.check, Disk(NFS, driver=QCOW2), SECONDS
        )
        argv = run.call_args.args[0]
        options = next(word for word in argv if word.startswith('if='))
        self.assertTrue(options.startswith('if=driver=raw,file.driver=nfs,'))
        self.assertIn('file.path=/an,,export/volume-1,', options)
        self.assertTrue(options.endswith('file.user=7,file.group=8'))
        self.assertEqual(SECONDS, run.call_args.kwargs['timeout'])

    def test_a_silent_server(self) -> None:
        text = self.refused(
            exception.DestinationSilent, side_effect=subprocess.TimeoutExpired('qemu-img', 2)
        )
        self.assertIn('did not answer', text)

    def test_a_server_that_says_no(self) -> None:
        text = self.refused(
            exception.DestinationUnusable,
            side_effect=subprocess.CalledProcessError(
                1, 'qemu-img', stderr="first\nqemu-img: Could not open 'x': Lookup failed\n"
            ),
        )
        self.assertIn('Lookup failed', text)
        self.assertNotIn('192.0.2.1', text)

    def test_without_qemu_img(self) -> None:
        text = self.refused(exception.DestinationUnusable, side_effect=FileNotFoundError)
        self.assertIn('install qemu-utils', text)

    def test_a_local_file(self) -> None:
        path = Path(self.useFixture(fixtures.TempDir()).path) / 'image'
        path.write_bytes(bytes(4096))
        disk = Disk(FileSource(str(path)), driver=QCOW2)
        self.assertRaises(exception.UnsupportedVolume, header.check, disk, SECONDS)

    def test_qcow2_elsewhere(self) -> None:
        disk = Disk(RbdSource('pool', 'image'), driver=QCOW2)
        self.assertRaises(exception.UnsupportedVolume, header.check, disk, SECONDS)
