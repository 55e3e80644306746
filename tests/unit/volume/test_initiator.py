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
"""The initiator's name: the option, else the host's file, else none and a note."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from blockmirror_driver.volume import initiator
from tests.unit.volume import cases

NAME = 'iqn.2030-01.org.example:host'


class TestInitiator(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / 'initiatorname.iscsi'

    def name(self, text: str | bytes | None, **values: str) -> tuple[str | None, str]:
        if text is not None:
            self.file.write_bytes(text.encode() if isinstance(text, str) else text)
        return initiator.name(cases.options(**values), self.file)

    def test_the_option_goes_first(self) -> None:
        found = self.name(f'InitiatorName={NAME}', iscsi_initiator_name='iqn.x')
        self.assertEqual(('iqn.x', ''), found)

    def test_the_hosts_file(self) -> None:
        for text in (
            f'InitiatorName={NAME}\n',
            f'#InitiatorName=no\n InitiatorName={NAME} ',
        ):
            self.assertEqual((NAME, ''), self.name(text))

    def test_none(self) -> None:
        for text in (None, '', 'InitiatorName=', 'GenerateName=yes', 'InitiatorName=a b', b'\xff'):
            with self.subTest(text):
                found, note = self.name(text)
                self.assertIsNone(found)
                self.assertIn('initiator name', note)

    def test_an_option_that_is_no_name(self) -> None:
        found, note = self.name(f'InitiatorName={NAME}', iscsi_initiator_name='a b')
        self.assertIsNone(found)
        self.assertIn('ignored', note)
