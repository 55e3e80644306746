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
"""LUKS headers by the real qemu-img, on files."""

import shutil
import unittest
from pathlib import Path
from unittest import mock

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, FileSource, Seconds, Secret
from blockmirror_driver.qemu import luks, tool
from blockmirror_driver.qemu.tool import Ended, Limits

MIB = 1 << 20
KEY = Secret('sesame/passphrase+0')
HAS_TOOLS = bool(shutil.which('qemu-img') and shutil.which('qemu-io'))


@unittest.skipUnless(HAS_TOOLS, "QEMU's tools are not here")
class FormatTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.useFixture(fixtures.TempDir()).path)
        self.log = self.useFixture(fixtures.FakeLogger(level=0))
        self.limits = Limits(Seconds(60.0))

    def disk(self, data: bytes = b'') -> tuple[Disk, Path]:
        path = self.root / 'volume'
        with path.open('wb') as out:
            out.truncate(8 * MIB)
            out.write(data)
        return Disk(FileSource(str(path))), path

    def test_header_and_nothing_else(self) -> None:
        """The volume keeps its size, what lies behind the header stays, the key is nowhere."""
        disk, path = self.disk()
        with path.open('r+b') as out:
            out.seek(4 * MIB)
            out.write(b'behind')
        length = luks.format_volume(disk, KEY, self.limits)
        data = path.read_bytes()
        self.assertEqual((8 * MIB, b'LUKS\xba\xbe\x00\x01'), (len(data), data[:8]))
        self.assertEqual(b'behind', data[4 * MIB : 4 * MIB + 6])
        self.assertEqual(bytes(4 * MIB - length), data[length : 4 * MIB])
        self.assertNotIn(b'sesame', data)
        self.assertNotIn('sesame', self.log.output)
        self.assertEqual(['volume'], [one.name for one in self.root.iterdir()])

    def test_not_over_something(self) -> None:
        disk, path = self.disk(b'a file system')
        before = path.read_bytes()
        error = self.assertRaises(
            exception.DestinationUnusable, luks.format_volume, disk, KEY, self.limits
        )
        self.assertIn('not blank', str(error))
        self.assertEqual(before, path.read_bytes())
        luks.format_volume(disk, KEY, self.limits, force=True)
        self.assertEqual(b'LUKS', path.read_bytes()[:4])

    def test_a_volume_that_is_not_there_or_too_small(self) -> None:
        for data in (None, b''):
            path = self.root / 'other'
            if data is not None:
                path.write_bytes(data)
            error = self.assertRaises(
                exception.DestinationUnusable,
                luks.format_volume,
                Disk(FileSource(str(path))),
                KEY,
                self.limits,
            )
            self.assertNotIn('json', str(error))

    def test_the_measurement_of_a_busy_machine_is_repeated(self) -> None:
        """QEMU gives up at times; when it always does, its reason is told."""
        disk, path = self.disk()
        real, failures = tool.run, 2

        def run(command: list[str], *args: object, **options: object) -> Ended:
            nonlocal failures
            if command[1] == 'create' and failures:
                failures -= 1
                return Ended(1, b'', 'no progress')
            return real(command, *args, **options)  # type: ignore[arg-type]

        with mock.patch.object(tool, 'run', run):
            luks.format_volume(disk, KEY, self.limits)
            self.assertEqual(b'LUKS', path.read_bytes()[:4])
            failures = 100
            error = self.assertRaises(
                exception.CopyFailed, luks.format_volume, disk, KEY, self.limits, force=True
            )
        self.assertIn('no progress', str(error))
