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
"""The NBD client beside the real qemu-nbd, and beside servers that lie."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import fixtures
import testtools
from hypothesis import given, settings
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.qemu import nbd
from tests.lab.deadline import wait_until

SIZE = 5 << 20
GREETING = b'NBDMAGICIHAVEOPT' + struct.pack('>H', 3)
REPLY = 0x3E889045565A9


def reply(kind: int, data: bytes = b'') -> bytes:
    return struct.pack('>QIII', REPLY, 7, kind, len(data)) + data


INFO = reply(3, struct.pack('>HQH', 0, SIZE, 1))
GOOD = GREETING + INFO + reply(1)


class NbdCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.useFixture(fixtures.TempDir()).path)
        self.path = str(self.root / 'nbd')

    def export(self, name: str = '0', timeout: float = 10.0) -> nbd.Export:
        export = nbd.Export(self.path, name, Seconds(timeout))
        self.addCleanup(export.close)
        return export


@unittest.skipUnless(which('qemu-nbd'), "QEMU's tools are not here")
class RealTest(NbdCase):
    def setUp(self) -> None:
        super().setUp()
        self.data = bytes(range(256)) * (SIZE // 256)
        image = self.root / 'image'
        image.write_bytes(self.data)
        argv = ['qemu-nbd', '-k', self.path, '-f', 'raw', '-r', '-t', '-x', '0', str(image)]
        server = subprocess.Popen(argv)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        wait_until(lambda: Path(self.path).exists(), 10, 'qemu-nbd listens')

    def test_reads(self) -> None:
        export = self.export()
        self.assertEqual(SIZE, export.size)
        for offset, length in ((0, 1), (4095, 4098), (SIZE - 1, 1), (0, SIZE)):
            export.ask(offset, length)
            self.assertEqual(self.data[offset : offset + length], export.answer())

    def test_behind_the_end(self) -> None:
        export = self.export()
        export.ask(SIZE - 1, 2)
        self.assertRaises(exception.CopyFailed, export.answer)

    def test_no_such_export(self) -> None:
        error = self.assertRaises(exception.CopyFailed, self.export, 'other')
        self.assertIn('no such export', str(error))

    def test_hung_up(self) -> None:
        export = self.export()
        export.hang_up()
        self.assertRaises(exception.CopyFailed, self.asked, export)

    @staticmethod
    def asked(export: nbd.Export) -> None:
        export.ask(0, 1)
        export.answer()


class LyingTest(NbdCase):
    def serve(self, *parts: bytes) -> None:
        """Say these to one who comes, whatever is asked, and hang up."""
        served = self.serving(*parts)
        served.__enter__()
        self.addCleanup(served.__exit__, None, None, None)

    @contextlib.contextmanager
    def serving(self, *parts: bytes) -> Iterator[None]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen(1)

            def run() -> None:
                peer, _ = listener.accept()
                with peer, contextlib.suppress(OSError):
                    for part in parts:
                        peer.sendall(part)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            yield
            thread.join()

    def test_no_server(self) -> None:
        self.assertRaises(exception.CopyFailed, self.export)

    def test_other_greetings(self) -> None:
        for number, greeting in enumerate((
            b'',
            b'SSH-2.0-OpenSSH_9.2\r\n',
            b'NBDMAGIC' + bytes(10),
            GREETING,
            GREETING + reply(1),
            GREETING + bytes(20),
            GREETING + struct.pack('>QIII', REPLY, 7, 3, 1 << 30),
            GREETING + reply(3, b'\0'),
            GREETING + reply((1 << 31) | 6),
        )):  # fmt: skip
            self.path = str(self.root / str(number))
            self.serve(greeting)
            self.assertRaises(exception.CopyFailed, self.export)

    def test_other_answers(self) -> None:
        for number, answer in enumerate((
            b'',
            struct.pack('>IIQ', 0x67446698, 5, 1),
            struct.pack('>IIQ', 0x67446698, 0, 9) + bytes(4),
            struct.pack('>IIQ', 0, 0, 1) + bytes(4),
            struct.pack('>IIQ', 0x67446698, 0, 1) + bytes(3),
        )):  # fmt: skip
            self.path = str(self.root / str(number))
            self.serve(GOOD, answer)
            export = self.export()
            export.ask(0, 4)
            self.assertRaises(exception.CopyFailed, export.answer)

    @settings(deadline=None)
    @given(st.binary(max_size=80), st.integers(0, 90))
    def test_whatever_it_says(self, noise: bytes, place: int) -> None:
        """A good server's words with noise somewhere in them: bytes, or our error."""
        words = GOOD + struct.pack('>IIQ', 0x67446698, 0, 1) + b'data'
        self.path = str(self.root / 'noise')
        Path(self.path).unlink(missing_ok=True)
        with self.serving(words[:place] + noise + words[place + len(noise) :]):
            export = None
            try:
                export = nbd.Export(self.path, '0', Seconds(30.0))
                export.ask(0, 4)
                self.assertEqual(4, len(export.answer()))
            except exception.CopyFailed as error:
                self.assertTrue(str(error).isprintable())
            finally:
                if export is not None:
                    export.close()

    def test_silence(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen(1)
        error = self.assertRaises(exception.CopyFailed, self.export, timeout=0.05)
        self.assertIn('no answer in time', str(error))
