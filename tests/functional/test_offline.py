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
"""Copies without a guest, between the lab's real backends."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from blockmirror_driver import exception
from blockmirror_driver.model import BytesPerSecond, Disk, Seconds
from blockmirror_driver.qemu import copy
from blockmirror_driver.volume.registry import disk_for
from tests.functional.base import FILLED, MIB, SIZE, LabTestCase
from tests.functional.test_zz_secrets import argvs, search
from tests.lab.volumes import Volume

KINDS = ('rbd', 'iscsi', 'nfs')
WRONG = 'wrong-canary-password'


def digest(volume: Volume) -> str:
    """Of what the backend has."""
    with volume.read_back().open('rb') as stream:
        return hashlib.file_digest(stream, 'sha256').hexdigest()


class OfflineTest(LabTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.seen: list[tuple[str, float]] = []

    def made(self, kind: str, **options: Any) -> Volume:
        """A volume whose key comes with it, as Cinder can be told to."""
        if kind == 'rbd':
            options['give_keyring'] = True
        return self.volume(kind, **options)

    def disk(self, volume: Volume, **changes: Any) -> Disk:
        """As cinder-volume sees it."""
        info = volume.connection_info()
        info['data'].update(changes)
        return disk_for(info)

    def copy(self, source: Disk, to: Disk, **options: Any) -> copy.Copied:
        cancelled = options.pop('cancelled', lambda: False)
        wishes = copy.Wishes(**{'target_is_zero': True, 'verify': True, **options})
        return copy.copy(
            source, to, wishes, progress=lambda *told: self.seen.append(told), cancelled=cancelled
        )

    def _pair(self, from_kind: str, to_kind: str) -> None:
        """The same bytes, room for the data only, and no secret where others can look."""
        source, to = self.made(from_kind, filled=True), self.made(to_kind)
        before = digest(source)
        hits: list[str] = []
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                hits.extend(search(self.lab.secrets(), argvs()))
                done.wait(0.02)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            copied = self.copy(self.disk(source), self.disk(to))
        finally:
            done.set()
            watcher.join()
        self.assertEqual([], hits)
        self.assertEqual(SIZE, copied.size)
        self.assertEqual((before, before), (digest(source), digest(to)))
        self.assertLess(to.allocated(), FILLED.length + 8 * MIB)
        self.assertIn(('copy', 100.0), self.seen)
        self.assertIn(('compare', 100.0), self.seen)

    def test_not_known_to_be_zero(self) -> None:
        """Old data in the source's holes is gone afterwards, also where that means writing."""
        for kind in KINDS:
            source, to = self.made('nfs'), self.made(kind, filled=True)
            self.copy(self.disk(source), self.disk(to), target_is_zero=False, verify=False)
            self.assertEqual(digest(source), digest(to), kind)

    def test_wrong_password(self) -> None:
        """One clear line without the password; the destination is untouched."""
        source, to = self.made('iscsi', filled=True), self.made('nfs')
        error = self.assertRaises(
            exception.DestinationUnusable,
            self.copy,
            self.disk(source, auth_password=WRONG),
            self.disk(to),
        )
        self.assertRegex(str(error), r'(?i)^iscsi:\S+: .*auth')
        self.assertNotIn(WRONG, str(error))
        self.assertNotIn('\n', str(error))
        self.assertEqual(0, to.allocated())

    def test_wrong_key(self) -> None:
        """The same for cephx."""
        keyring = '[client.cinder]\n\tkey = AQBwrongQ2FuYXJ5ISEhISEhISEhISEhISEhIQ==\n'
        source, to = self.made('nfs', filled=True), self.made('rbd')
        error = self.assertRaises(
            exception.DestinationUnusable,
            self.copy,
            self.disk(source),
            self.disk(to, keyring=keyring),
        )
        self.assertRegex(str(error), r'^rbd:\S+: error connecting')

    def test_too_small(self) -> None:
        """Refused with both numbers before anything is written."""
        source = self.made('nfs', filled=True)
        to = self.made('iscsi', size=SIZE - MIB)
        error = self.assertRaises(
            exception.DestinationUnusable, self.copy, self.disk(source), self.disk(to)
        )
        self.assertIn(str(SIZE - MIB), str(error))
        self.assertEqual(0, to.allocated())

    def test_silent_destination(self) -> None:
        """A server that does not answer costs the time that was set for it."""
        source, to = self.made('nfs', filled=True), self.made('iscsi')
        disk = self.disk(to)
        self.lab.iscsi.stop()
        self.addCleanup(self.lab.iscsi.cont)
        error = self.assertRaises(
            exception.DestinationSilent,
            self.copy,
            self.disk(source),
            disk,
            open_timeout=Seconds(3.0),
        )
        self.assertIn('did not answer', str(error))

    def test_destination_dies(self) -> None:
        """The copy fails or runs into its deadline; the source is as it was."""
        source, to = self.made('nfs', filled=True), self.made('iscsi')
        before = digest(source)
        killed: list[bool] = []

        def kill() -> bool:
            if not killed:
                killed.append(True)
                self.lab.iscsi.kill()
            return False

        self.addCleanup(self.lab.iscsi.start)
        self.assertRaises(
            (exception.CopyFailed, exception.TimedOut),
            self.copy,
            self.disk(source),
            self.disk(to),
            bandwidth=BytesPerSecond(4 * MIB),
            timeout=Seconds(4.0),
            cancelled=kill,
        )
        self.assertEqual(before, digest(source))

    def test_cancel(self) -> None:
        """Nobody writes to the destination any more when the error comes."""
        source, to = self.made('nfs', filled=True), self.made('iscsi')
        before = digest(source)
        self.assertRaises(
            exception.Cancelled,
            self.copy,
            self.disk(source),
            self.disk(to),
            bandwidth=BytesPerSecond(4 * MIB),
            cancelled=lambda: True,
        )
        self.assertEqual(before, digest(source))
        for path in argvs():
            if path.name == 'cmdline' and path.exists():
                self.assertNotIn(source.name.encode(), path.read_bytes())

    def test_password_is_not_in_the_image(self) -> None:
        """What could be logged of an image says whose it is, and not how to open it."""
        from blockmirror_driver.qemu import blockdev

        for kind in ('rbd', 'iscsi'):
            image = blockdev.of(self.disk(self.made(kind)), 'it')
            shown = self.command.home / 'image.log'
            shown.write_text(f'{image!r} {image.filename}')
            self.assertEqual([], search(self.lab.secrets(), [Path(shown)]))
            self.assertIn('file', json.loads(image.filename.partition(':')[2]))


def _add(from_kind: str, to_kind: str) -> None:
    def test(self: OfflineTest) -> None:
        self._pair(from_kind, to_kind)

    test.__doc__ = f'{from_kind} to {to_kind}: the same bytes, sparse.'
    setattr(OfflineTest, f'test_{from_kind}_to_{to_kind}', test)


for _from in KINDS:
    for _to in KINDS:
        _add(_from, _to)
