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
"""Keys of castellan: what it gives becomes a passphrase, and whatever else one line."""

from __future__ import annotations

import logging
import sys
import tempfile
import uuid
from pathlib import Path
from unittest import mock

import testtools
from oslo_config import cfg

from blockmirror_driver import exception
from blockmirror_driver.model import Secret
from blockmirror_driver.volume import key_manager
from tests.lab.keys.folder_keys import FolderKeyManager, as_text, configuration

KEY_ID = '5c1f0a7b-e2d9-4836-9b41-7be2a3d90c11'
KEY = b'\x00\xffc4n4ry'


class KeyManagerTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / KEY_ID).write_bytes(KEY)

    def conf(self, text: str | None = None) -> cfg.ConfigOpts:
        path = self.folder / 'a.conf'
        path.write_text(as_text(configuration(self.folder)) if text is None else text)
        conf = cfg.ConfigOpts()
        conf(['--config-file', str(path)])
        return conf

    def refused(self, conf: cfg.ConfigOpts, key_id: str = KEY_ID) -> exception.SecretUnavailable:
        error = self.assertRaises(exception.SecretUnavailable, key_manager.fetch, key_id, conf)
        assert isinstance(error, exception.SecretUnavailable)
        return error

    def test_the_passphrase_is_novas(self) -> None:
        """Hexadecimal digits, lower case."""
        self.assertEqual(Secret('00ff63346e347279'), key_manager.fetch(KEY_ID, self.conf()))

    def test_the_fixed_key_of_nova_and_cinder(self) -> None:
        """Their ConfKeyManager knows one key, under the id of zeros alone."""
        conf = self.conf('[key_manager]\nfixed_key = 00FFAB12\n')
        self.assertEqual(Secret('00ffab12'), key_manager.fetch(str(uuid.UUID(int=0)), conf))

    def test_nothing_is_logged_meanwhile(self) -> None:
        """Whatever a backend logs; and afterwards logging is as it was."""

        def get(_self: object, _context: object, key_id: str) -> object:
            logging.getLogger('a.backend').critical('key %s is %r', key_id, KEY)
            return mock.Mock(**{'get_encoded.return_value': KEY})

        self.give(get)
        with self.assertLogs(level='DEBUG') as logged:
            conf = self.conf()
            key_manager.fetch(KEY_ID, conf)
            get(None, None, KEY_ID)
        self.assertEqual(1, len(logged.records), str(logged.output))

    def test_credentials(self) -> None:
        """Those of [key_manager] when it says of what type they are, else an empty context."""
        seen: list[object] = []

        def get(_self: object, context: object, _key_id: str) -> object:
            seen.append(context)
            return mock.Mock(**{'get_encoded.return_value': KEY})

        self.give(get)
        key_manager.fetch(KEY_ID, self.conf())
        sections = configuration(self.folder)
        sections['key_manager'] |= {'auth_type': 'token', 'token': 't0ken'}
        key_manager.fetch(KEY_ID, self.conf(as_text(sections)))
        self.assertEqual(['RequestContext', 'Token'], [type(one).__name__ for one in seen])

    def give(self, get: object) -> None:
        patcher = mock.patch.object(FolderKeyManager, 'get', get)
        patcher.start()
        self.addCleanup(patcher.stop)

    def test_refusals_are_one_line_that_says_why(self) -> None:
        absent = str(uuid.uuid4())
        self.assertIn(f'Key not found, uuid: {absent}', str(self.refused(self.conf(), absent)))
        nowhere = self.refused(self.conf('[key_manager]\nbackend = nowhere.Backend\n'))
        self.assertIn('ModuleNotFoundError', str(nowhere))
        # Barbican's own class, without credentials.
        barbican = self.refused(self.conf(''))
        self.assertIn('not authorized', str(barbican))
        self.assertIn('auth_type', barbican.hint)
        (self.folder / KEY_ID).write_bytes(b'')
        self.assertIn('it is empty', str(self.refused(self.conf())))

    def test_a_foreign_exception_is_not_quoted(self) -> None:
        def get(*_: object) -> object:
            raise RuntimeError('c4n4ry')

        self.give(get)
        error = self.refused(self.conf())
        self.assertNotIn('c4n4ry', f'{error} {error.hint}')

    def test_without_castellan(self) -> None:
        with mock.patch.dict(sys.modules, {'castellan': None}):
            error = self.refused(self.conf())
        self.assertIn('castellan, which is not installed', str(error))
        self.assertIn('blockmirror-driver[castellan]', error.hint)

    def test_an_id_is_a_uuid(self) -> None:
        for key_id in ('', '../../secrets', f'{KEY_ID}/payload', 'x' * 4000):
            self.assertRaises(exception.UsageError, key_manager.fetch, key_id, self.conf())
