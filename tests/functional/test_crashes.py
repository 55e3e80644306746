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
"""P6: our process is killed at each write of the journal; recover brings the swap to an end."""

from __future__ import annotations

import signal

import testtools

from blockmirror_driver.swap.states import SwapState
from tests.functional.base import SLOW, LabTestCase
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume

#: States that a swap without trouble is written to be in.
FORWARD = ('prepared', 'copying', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned')
#: The others of such a swap's life, with the test that kills the process there.
ELSEWHERE = {
    'planned': 'the row is written by create(); before:prepared is right after it',
    'held': 'test_held',
    'cancelling': 'test_cancelling',
    'reverted': 'test_cancelling',
    'finished': 'reached from cancelling, by the same step',
    'unknown': 'nothing is done in it',
}
SIGKILLED = -signal.SIGKILL


class CrashTestCase(LabTestCase):
    def crash(self, guest: Guest, destination: Volume, where: str, *options: object) -> None:
        """Run a swap that kills itself there."""
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), *options, crash=where
        )
        self.assertEqual(SIGKILLED, running.wait().code)

    def recovered(self, guest: Guest, source: Volume, destination: Volume) -> str:
        """Recover, twice: the second finds nothing to do. Return the last state."""
        self.command.run('recover')
        state = str(self.command.run('list', '-f', 'json').json[0]['state'])
        again = self.command.run('recover')
        self.assert_ok(again)
        where = destination if state == 'cleaned' else source
        guest.wait_acked(20)
        self.assert_on(guest, where)
        self.assert_nothing_left(guest)
        self.assert_survived(guest, where)
        return state


class CrashTest(CrashTestCase):
    def _crash_at(self, where: str) -> None:
        source, destination = self.volume('nfs', filled=True), self.volume('iscsi')
        guest = self.writing_guest(source)
        self.crash(guest, destination, where)
        state = self.recovered(guest, source, destination)
        started = where not in (
            'before:prepared',
            'after:prepared',
            'before:copying',
            'after:copying',
        )
        self.assertEqual('cleaned' if started else 'reverted', state)

    def test_held(self) -> None:
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        self.crash(guest, destination, 'after:held', '--hold')
        self.command.run('recover', '--cancel')
        state = self.command.run('list', '-f', 'json').json[0]['state']
        self.assertEqual('reverted', state)
        self.assert_on(guest, source)
        self.assert_survived(guest, source)

    def test_cancelling(self) -> None:
        for where in ('before:cancelling', 'after:cancelling', 'before:reverted'):
            with self.subTest(where):
                source, destination = self.volume('file', filled=True), self.volume('iscsi')
                guest = self.writing_guest(source)
                running = self.command.start(
                    'swap', guest.name, 'vda', self.connection(destination),
                    '--bandwidth', SLOW, '--events', 'jsonl', crash=where,
                )  # fmt: skip
                running.wait_copied(1)
                running.kill(signal.SIGINT)
                self.assertEqual(SIGKILLED, running.wait().code)
                self.command.run('recover', '--cancel')
                self.assert_on(guest, source)
                self.assert_nothing_left(guest)
                self.assert_survived(guest, source)
                guest.destroy()

    def test_a_lost_journal_is_rebuilt_from_the_domain(self) -> None:
        """The journal is deleted in mid-copy; the domain's metadata is enough to go on."""
        source, destination = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(source)
        running = self.command.start(
            'swap', guest.name, 'vda', self.connection(destination), '--bandwidth', SLOW,
            '--events', 'jsonl',
        )  # fmt: skip
        running.wait_copied(1)
        running.kill()
        running.wait()
        for path in self.command.journal_path.parent.iterdir():
            path.unlink()
        guest.domain.blockJobSetSpeed('vda', 0, 0)
        self.assertEqual('cleaned', self.recovered(guest, source, destination))


def _add(where: str) -> None:
    def test(self: CrashTest) -> None:
        self._crash_at(where)

    test.__doc__ = f'Killed {where.replace(":", " the journal says ")}.'
    setattr(CrashTest, 'test_' + where.replace(':', '_'), test)


for _when in ('before', 'after'):
    for _state in FORWARD:
        if (_when, _state) != ('after', 'cleaned'):
            _add(f'{_when}:{_state}')


class CoverageTest(testtools.TestCase):
    def test_every_state_is_crashed_in_or_has_a_reason(self) -> None:
        self.assertEqual({state.value for state in SwapState}, {*FORWARD, *ELSEWHERE})
