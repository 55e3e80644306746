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
"""Copies by the real qemu-img, between files."""

import os
import shutil
import subprocess
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Bytes,
    BytesPerSecond,
    Disk,
    Driver,
    FileSource,
    Seconds,
    Secret,
)
from blockmirror_driver.qemu import copy, secrets, tool
from blockmirror_driver.qemu.blockdev import Blockdev

MIB = 1 << 20
CANARY = 'sesame/canary+0'
HAS_TOOLS = bool(shutil.which('qemu-img') and shutil.which('qemu-io'))


def never() -> bool:
    return False


@unittest.skipUnless(HAS_TOOLS, "QEMU's tools are not here")
class CopyTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.useFixture(fixtures.TempDir()).path)
        self.seen: list[tuple[str, float]] = []
        self.log = self.useFixture(fixtures.FakeLogger(level=0))

    def image(self, name: str, size: int, data: bytes = b'', at: int = 0) -> Disk:
        with (self.root / name).open('wb') as out:
            out.truncate(size)
            out.seek(at)
            out.write(data)
        return Disk(FileSource(str(self.root / name)))

    def copy(
        self,
        source: Disk,
        to: Disk,
        cancelled: Callable[[], bool] = never,
        **wishes: Any,
    ) -> copy.Copied:
        return copy.copy(
            source,
            to,
            copy.Wishes(**wishes),
            progress=lambda *told: self.seen.append(told),
            cancelled=cancelled,
        )

    def test_sparse_stays_sparse(self) -> None:
        """The same bytes, no more room, and per cent on the way."""
        data = os.urandom(MIB)
        source = self.image('a', 64 * MIB, data, at=32 * MIB)
        to = self.image('b', 64 * MIB)
        copied = self.copy(source, to, target_is_zero=True, verify=True)
        self.assertEqual(Bytes(64 * MIB), copied.size)
        self.assertEqual((self.root / 'a').read_bytes(), (self.root / 'b').read_bytes())
        self.assertLess((self.root / 'b').stat().st_blocks * 512, 2 * MIB)
        self.assertIn(('copy', 100.0), self.seen)
        self.assertIn(('compare', 100.0), self.seen)
        self.assertRegex(copy.describe(copied), r'^64\.0 MiB in \d+\.\d s, .*/s$')

    def test_old_data_is_overwritten(self) -> None:
        """A destination that is not known to be zero reads as the source, holes included."""
        source = self.image('a', 8 * MIB, b'new', at=MIB)
        to = self.image('b', 8 * MIB, b'old' * MIB)
        self.copy(source, to)
        self.assertEqual((self.root / 'a').read_bytes(), (self.root / 'b').read_bytes())

    def test_too_small(self) -> None:
        """By one sector: refused before a byte is written."""
        source, to = self.image('a', 8 * MIB, b'x'), self.image('b', 8 * MIB - 512)
        error = self.assertRaises(exception.DestinationUnusable, self.copy, source, to)
        self.assertIn(str(8 * MIB - 512), str(error))
        self.assertEqual(0, (self.root / 'b').stat().st_blocks)

    def test_larger(self) -> None:
        """Storage that rounds up is used, and the log says so."""
        source, to = self.image('a', MIB, b'x'), self.image('b', 2 * MIB)
        self.copy(source, to, verify=True)
        self.assertIn('is larger than', self.log.output)
        self.assertEqual(2 * MIB, (self.root / 'b').stat().st_size)

    def test_missing(self) -> None:
        """One line with the reason, and without the whole image."""
        to = self.image('b', MIB)
        source = Disk(FileSource(str(self.root / 'none')))
        error = self.assertRaises(exception.DestinationUnusable, self.copy, source, to)
        self.assertEqual('file:none: No such file or directory', str(error))

    def test_a_header_is_data(self) -> None:
        """What a guest writes into a raw volume is never taken for a format."""
        inner = self.root / 'inner.qcow2'
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', '/etc/hostname', inner],
            check=True,
        )
        data = inner.read_bytes()
        source, to = self.image('a', 8 * MIB, data), self.image('b', 8 * MIB)
        self.copy(source, to)
        self.assertEqual(data, (self.root / 'b').read_bytes()[: len(data)])

    def test_backing_file(self) -> None:
        """A qcow2 volume that names another file is refused, not followed."""
        base = self.image('base', MIB, b'secret of the host')
        path = self.root / 'top'
        assert isinstance(base.source, FileSource)
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base.source.path, path],
            check=True,
        )
        source = Disk(FileSource(str(path)), driver=Driver(format='qcow2'))
        error = self.assertRaises(
            exception.UnsupportedVolume, self.copy, source, self.image('b', MIB)
        )
        self.assertIn('backing file', str(error))

    def test_qcow2(self) -> None:
        """Formats are converted, by name."""
        path = self.root / 'to'
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', path, str(MIB)], check=True)
        to = Disk(FileSource(str(path)), driver=Driver(format='qcow2'))
        self.copy(self.image('a', MIB, b'data'), to, target_is_zero=True, verify=True)

    def test_differs(self) -> None:
        """A copy that is not one fails, with the place."""
        source, to = self.image('a', MIB, b'x', at=4096), self.image('b', MIB)
        with mock.patch.object(copy, '_convert'):
            error = self.assertRaises(exception.CopyFailed, self.copy, source, to, verify=True)
        self.assertIn('offset 4096', str(error))

    def test_deadline(self) -> None:
        """The tool is gone when the error comes."""
        source, to = self.image('a', 64 * MIB, os.urandom(32 * MIB)), self.image('b', 64 * MIB)
        before = time.monotonic()
        self.assertRaises(
            exception.TimedOut,
            self.copy,
            source,
            to,
            bandwidth=BytesPerSecond(MIB),
            timeout=Seconds(1.0),
        )
        self.assertLess(time.monotonic() - before, 10)
        self.assertFalse(running(str(self.root)))

    def test_cancel(self) -> None:
        source, to = self.image('a', 64 * MIB, os.urandom(32 * MIB)), self.image('b', 64 * MIB)
        self.assertRaises(
            exception.Cancelled,
            self.copy,
            source,
            to,
            cancelled=lambda: True,
            bandwidth=BytesPerSecond(MIB),
        )
        self.assertFalse(running(str(self.root)))


class ToolTest(testtools.TestCase):
    IMAGE = Blockdev('raw', {'driver': 'null-co'}, {'s': Secret(CANARY)})

    def test_secret_is_handed_over_in_memory(self) -> None:
        """The tool can read it; nobody else can, in no argument and no environment."""
        shown: list[str] = []
        start = subprocess.Popen

        def spy(*args: Any, **kwargs: Any) -> Any:
            shown.append(f'{args} {kwargs}')
            return start(*args, **kwargs)

        # As QEMU does: open the path that the argument names.
        script = 'cat "$(printf %s "$2" | sed "s/.*\\"file\\": \\"//; s/\\".*//")"; exit 3'
        with mock.patch('subprocess.Popen', spy):
            command = ['sh', '-c', script, 'name']
            ended = tool.run(command, [self.IMAGE], tool.Limits(Seconds(10.0)))
        self.assertEqual((3, CANARY.encode()), (ended.code, ended.output))
        self.assertNotIn(CANARY, shown[0])

    def test_described(self) -> None:
        """Each value under its id, readable by the path that is cited."""
        with secrets.handed({'a': Secret('one'), 'b': Secret('two')}) as handed:
            self.assertEqual(2, len(handed.descriptors))
            told = ' '.join(handed.arguments)
            for number, value in zip(handed.descriptors, (b'one', b'two'), strict=True):
                self.assertIn(f'"/proc/self/fd/{number}"', told)
                self.assertEqual(value, Path(f'/proc/self/fd/{number}').read_bytes())
            self.assertNotIn('one', told)
        for number in handed.descriptors:
            self.assertRaises(OSError, os.fstat, number)

    def test_no_such_tool(self) -> None:
        limits = tool.Limits(Seconds(10.0))
        with mock.patch('shutil.which', return_value=None):
            self.assertRaises(exception.UsageError, tool.run, ['no-such-tool'], [], limits)

    def test_reason(self) -> None:
        """One line, without what the tool quotes."""
        reason = tool._reason(
            b'qemu-img: Could not open \'json:{"driver": "raw"}\': iSCSI: Failed: (514)\nmore\n'
        )
        self.assertEqual('iSCSI: Failed: (514)', reason)
        self.assertEqual('without a reason', tool._reason(b''))


def running(text: str) -> bool:
    """Whether a tool works on files of ours."""
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if words.startswith(b'qemu-img') and text.encode() in words:
            return True
    return False
