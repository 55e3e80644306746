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
"""An image that leads to other files is refused before anything opens it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.volume import format as image
from tests.unit.volume import qcow2


class TestCheck(unittest.TestCase):
    def refused(self, content: bytes, image_format: str = 'qcow2') -> str:
        with self.assertRaises(exception.UnsupportedVolume) as caught:
            image.check([content], image_format)
        return str(caught.exception)

    def test_a_plain_image(self) -> None:
        image.check([qcow2.header()], 'qcow2')
        content = qcow2.header()
        image.check((content[i : i + 1] for i in range(len(content))), 'qcow2')

    def test_a_backing_file(self) -> None:
        content = qcow2.header(backing=True)
        self.assertIn('backing file', self.refused(content))
        image.check([content], 'qcow2', backing_declared=True)

    def test_an_external_data_file(self) -> None:
        """Also when a backing file is declared: one does not excuse the other."""
        for backing in (False, True):
            content = qcow2.header(backing=backing, features=qcow2.EXTERNAL_DATA_FILE)
            self.assertIn('external data file', self.refused(content))
            with self.assertRaises(exception.UnsupportedVolume):
                image.check([content], 'qcow2', backing_declared=True)

    def test_unknown_features(self) -> None:
        for features in (qcow2.EXTENDED_L2, 1 << 40):
            self.refused(qcow2.header(features=features))
        self.refused(qcow2.header(version=4))

    def test_what_is_no_qcow2(self) -> None:
        for content in (b'', b'QFI\xfb', bytes(65536), b'KDMV'.ljust(65536)):
            self.assertIn('not the qcow2', self.refused(content))

    def test_raw_is_never_probed(self) -> None:
        """A guest may write a header of any format into its raw disk (P8)."""
        image.check([qcow2.header(backing=True)], 'raw')

    @given(st.lists(st.binary(max_size=600), max_size=4))
    def test_whatever_bytes_there_are(self, chunks: list[bytes]) -> None:
        with self.assertRaises(exception.UnsupportedVolume):
            image.check(chunks, 'qcow2')


class TestCheckFile(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_what_cannot_be_read(self) -> None:
        for path in (self.folder, self.folder / 'absent'):
            with self.assertRaises(exception.DestinationUnusable) as caught:
                image.check_file(path, 'qcow2')
            self.assertNotIn(str(self.folder), str(caught.exception))

    @unittest.skipUnless(shutil.which('qemu-img'), 'qemu-img is not installed')
    def test_images_of_qemu_img(self) -> None:
        base, plain, top, data = (self.folder / n for n in ('base', 'plain', 'top', 'data'))
        self.create(base, '-f', 'raw', str(base), '1M')
        self.create(plain, '-f', 'qcow2', str(plain), '1M')
        self.create(top, '-f', 'qcow2', '-b', str(base), '-F', 'raw', str(top))
        option = f'data_file={self.folder / "data.raw"},data_file_raw=on'
        self.create(data, '-f', 'qcow2', '-o', option, str(data), '1M')
        image.check_file(plain, 'qcow2')
        image.check_file(base, 'raw')
        image.check_file(top, 'qcow2', backing_declared=True)
        for path in (base, top, data):
            with self.subTest(path.name), self.assertRaises(exception.UnsupportedVolume):
                image.check_file(path, 'qcow2')

    def create(self, path: Path, *argv: str) -> None:
        subprocess.run(['qemu-img', 'create', '-q', *argv], check=True)
        self.assertTrue(path.exists())
