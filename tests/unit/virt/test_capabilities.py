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
"""Which protocols QEMU can open, told from its modules."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import testtools

from blockmirror_driver.virt import capabilities
from tests.unit.virt.stand_ins import Recorder


class TestBlockDriver(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        self.emulator = self.root / 'qemu'

    def has(self, protocol: str) -> bool | None:
        return capabilities.has_block_driver(str(self.emulator), protocol, root=self.root)

    def test_the_module_is_installed(self) -> None:
        for where in ('lib/x86_64-linux-gnu/qemu', 'lib64/qemu-kvm'):
            directory = self.root / where
            directory.mkdir(parents=True)
            (directory / 'block-rbd.so').touch()
            self.assertIs(True, self.has('rbd'))
            (directory / 'block-rbd.so').unlink()

    def test_the_binary_knows_a_module_that_is_not_installed(self) -> None:
        self.emulator.write_bytes(b'\x7fELF\0block-rbd\0block-nfs\0')
        self.assertIs(False, self.has('rbd'))

    def test_built_in_or_left_out_can_not_be_told(self) -> None:
        self.emulator.write_bytes(b'\x7fELF\0block-rbdx\0')
        self.assertIsNone(self.has('rbd'))

    def test_no_binary_to_read(self) -> None:
        self.assertIsNone(self.has('rbd'))
        self.emulator.touch()  # an empty file can't be mapped
        self.assertIsNone(self.has('rbd'))

    def test_the_emulators_path(self) -> None:
        conn: Any = Recorder(
            getDomainCapabilities='<domainCapabilities><path>/usr/bin/q</path></domainCapabilities>'
        )
        self.assertEqual('/usr/bin/q', capabilities.emulator(conn))
