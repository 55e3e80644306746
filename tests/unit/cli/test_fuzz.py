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
"""Whatever is on the command line, in a file or on standard input: an answer or one line."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.cli import fakes
from tests.unit.volume import cases

#: What an operator can't type, and a program can hand over: no NUL, but every other character.
WORDS = st.text(st.characters(exclude_characters='\0'), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(), v, max_size=4)
)
OPTIONS = st.sampled_from((
    '--bandwidth', '--granularity', '--buf-size', '--timeout', '--method', '--convergence',
    '--convergence-window', '--hold-until', '--key-id', '--attempts', '--attempt-interval',
    '--verify-pause', '--probe-timeout', '--events', '-f', '-c', '--target', '--xml', '--dest',
    '--finish', '--hold', '--decrypt', '--shallow', '--',
))  # fmt: skip
COMMANDS = (
    'xml',
    'plan',
    'swap',
    'copy',
    'swap-group',
    'show',
    'cancel',
    'speed',
    'hold',
    'pivot',
)
ANSWERS = {0, 2, 3}
_settings = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors]
)


class TestWhateverIsTyped(fakes.CommandTestCase):
    def check(self, ran: fakes.Ran) -> None:
        self.assertIn(ran.code, ANSWERS, ran.err)
        self.assertNotIn('Traceback', ran.out + ran.err)
        lines = [line for line in ran.err.splitlines() if line.startswith('blockmirror: error')]
        self.assertEqual(1 if ran.code else 0, len(lines), ran.err)
        self.assertLess(len(ran.err), 3000)

    @_settings
    @given(
        st.sampled_from(COMMANDS),
        st.lists(OPTIONS | WORDS | st.integers().map(str) | st.just('CONNECTION'), max_size=8),
    )
    def test_words(self, command: str, words: list[str]) -> None:
        path = self.file('c.json', fakes.RBD)
        argv = [path if word == 'CONNECTION' else word for word in words]
        self.check(self.run_command(command, *argv))

    @_settings
    @given(st.binary(max_size=200) | st.builds(lambda v: json.dumps(v).encode(), VALUES))
    def test_files(self, content: bytes) -> None:
        """One that is no connection_info is refused, and its content is not shown."""
        path = self.folder / 'c.json'
        path.write_bytes(content)
        self.check(self.run_command('swap', 'guest', 'vda', str(path)))
        self.check(self.run_command('swap-group', 'guest', f'vda={path}', f'vdb={path}'))
        path = self.folder / 'c.xml'
        path.write_bytes(content)
        self.check(self.run_command('copy', 'guest', 'vda', '--xml', str(path)))

    @_settings
    @given(
        st.sampled_from(sorted(cases.DATA)),
        st.dictionaries(st.sampled_from(sorted(cases.ISCSI | cases.NFS | cases.RBD)), VALUES),
    )
    def test_connections(self, kind: str, changes: dict[str, object]) -> None:
        data = {**cases.DATA[kind], **changes}
        text = json.dumps({'driver_volume_type': kind, 'data': data})
        self.check(self.run_command('xml', '-', stdin=text))
