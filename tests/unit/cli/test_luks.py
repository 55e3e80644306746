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
"""``--key-file`` and ``blockmirror format-luks``, up to where QEMU's tools would begin."""

from blockmirror_driver.model import Secret
from blockmirror_driver.qemu import luks
from blockmirror_driver.swap import checks
from tests.lab.keys import folder_keys
from tests.unit.cli import fakes

PASSPHRASE = 'c4n4ry-passphrase'
KEY_ID = '5c1f0a7b-e2d9-4836-9b41-7be2a3d90c11'


class TestKeyFile(fakes.CommandTestCase):
    def test_of_a_swap(self) -> None:
        """The key comes to the request, and nobody sees it."""
        ran = self.run_command(
            'swap', 'guest', 'vda', self.file('c.json', fakes.RBD), '--key-file', self.key()
        )
        self.assertEqual(0, ran.code, ran.err)
        disk = self.service.requests[0].destination
        self.assertEqual(Secret(PASSPHRASE), disk.secrets[-1].value)
        self.assertNotIn(PASSPHRASE, ran.out + ran.err)

    def test_of_the_xml(self) -> None:
        ran = self.run_command('xml', self.file('c.json', fakes.ISCSI), '--key-file', self.key())
        self.assertIn('<encryption format="luks" engine="qemu">', ran.out)
        self.assertNotIn('c4n4ry', ran.out + ran.err)

    def test_bad_ones(self) -> None:
        path = self.file('c.json', fakes.RBD)
        empty = self.folder / 'empty'
        empty.touch()
        for argv in (
            ('swap', 'guest', 'vda', path, '--key-file', str(self.folder / 'absent')),
            ('swap', 'guest', 'vda', path, '--key-file', str(empty)),
            ('swap', 'guest', 'vda', '-', '--key-file', '-'),
            ('copy', 'guest', 'vda', '/a/path', '--key-file', str(empty)),
            ('swap', 'guest', 'vda', path, '--key-id', 'no-uuid'),
            ('swap', 'guest', 'vda', path, '--key-id', KEY_ID, '--key-file', self.key()),
            ('copy', 'guest', 'vda', '/a/path', '--key-id', KEY_ID),
            ('format-luks', path),
        ):
            self.refused(2, *argv)
        self.assertEqual([], self.service.requests)

    def test_of_a_group(self) -> None:
        """What is given for no disk of the group, or twice, is refused before anything is read."""
        path, key = self.file('c.json', fakes.RBD), self.key()
        group = ('swap-group', 'guest', f'vda={path}', f'vdb={path}')
        for argv in (
            ('--key-file', key),
            ('--key-file', f'vdc={key}'),
            ('--key-file', f'vda={key}', '--key-file', f'vda={key}'),
            ('--key-file', f'vda={key}', '--key-id', f'vda={KEY_ID}'),
            ('--key-id', 'vda='),
        ):
            self.refused(2, *group, *argv)
        self.assertEqual([], self.service.requests)

    def key(self) -> str:
        path = self.folder / 'key'
        path.write_text(PASSPHRASE)
        return str(path)


class TestKeyId(fakes.CommandTestCase):
    def test_of_a_swap(self) -> None:
        """Fetched by the configured key manager; nobody sees it, not even with --debug."""
        (self.folder / KEY_ID).write_text(PASSPHRASE)
        conf = self.file('a.conf', folder_keys.as_text(folder_keys.configuration(self.folder)))
        path = self.file('c.json', fakes.RBD)
        argv = ('--debug', '--config-file', conf, '--key-id', KEY_ID)
        for command in ('swap', 'copy'):
            ran = self.run_command(command, 'guest', 'vda', path, *argv)
            self.assertEqual(0, ran.code, ran.err)
            disk = self.service.requests.pop().destination
            digits = PASSPHRASE.encode().hex()
            self.assertEqual(Secret(digits), disk.secrets[-1].value)
            for canary in (PASSPHRASE, digits):
                self.assertNotIn(canary, ran.out + ran.err)

    def test_one_that_is_not_there(self) -> None:
        conf = self.file('a.conf', folder_keys.as_text(folder_keys.configuration(self.folder)))
        path = self.file('c.json', fakes.RBD)
        argv = ('plan', 'guest', 'vda', path, '--config-file', conf, '--key-id', KEY_ID)
        self.assertIn(f'Key not found, uuid: {KEY_ID}', self.refused(3, *argv))


class TestFormat(fakes.CommandTestCase):
    def test_a_volume_in_use_is_left_alone(self) -> None:
        key = self.folder / 'key'
        key.write_text(PASSPHRASE)
        formatted: list[bool] = []

        def format_volume(*_: object, force: bool) -> int:
            formatted.append(force)
            return 7

        self.patch(luks, 'format_volume', format_volume)
        self.patch(self.service, 'hypervisor', None)
        argv = ('format-luks', self.file('c.json', fakes.RBD), '--key-file', str(key))
        for passed, force, code in (
            (False, (), 3),
            (False, ('--force',), 3),
            (None, (), 3),
            (None, ('--force',), 0),
            (True, (), 0),
        ):
            self.patch(
                checks, 'in_use', lambda *_, passed=passed: checks.Check('x', passed, 'told')
            )
            ran = self.run_command(*argv, *force)
            self.assertEqual(code, ran.code, ran.err)
            self.assertNotIn(PASSPHRASE, ran.out + ran.err)
        self.assertEqual([True, False], formatted)
        self.assertIn('the first 7 bytes', ran.err)
