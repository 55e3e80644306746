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
"""What the functional tests share: volumes, a writing guest, the command, and the judge."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import testtools
from lxml import etree

from tests.functional.command import Command, Result
from tests.lab import oracle
from tests.lab.guest.agent import Stat
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.pattern import Fill
from tests.lab.process import run
from tests.lab.volumes import KINDS, Volume

MIB = 1 << 20
#: Size of a test volume, and how much of it is filled before the guest boots.
SIZE = 96 * MIB
FILLED = Fill(seed=7, length=48 * MIB)
#: Enough to keep a copy under way while a test does something to it.
SLOW = '4MiB'

_names = itertools.count(1)


class LabTestCase(testtools.TestCase):
    """A test inside the lab; every part that it broke is mended afterwards."""

    def setUp(self) -> None:
        super().setUp()
        self.lab = Lab.from_env()
        self.command = Command(self.lab)
        self._secrets_before = self.our_secrets()
        self.addCleanup(self._forget_secrets)

    # -- making ------------------------------------------------------------------------

    def volume(
        self, kind: str, size: int = SIZE, *, filled: bool = False, **options: Any
    ) -> Volume:
        """A volume that goes with the test."""
        volume = KINDS[kind](self.lab, **options).create(size)
        self.addCleanup(volume.delete)
        if filled:
            volume.write(FILLED, FILLED.length)
        return volume

    def guest(
        self, volume: Volume, *, persistent: bool = True, user: str | None = None, **disk: Any
    ) -> Guest:
        """A booted guest with one disk, ``vda``; it goes with the test."""
        name = f'bm-{os.getpid()}-{next(_names)}'
        domain = Domain(name, [volume.disk_xml('vda', **disk)], user=user)
        guest = Guest(self.lab, domain, persistent=persistent)
        self.addCleanup(guest.destroy)
        return guest.start()

    def writing_guest(self, volume: Volume, **options: Any) -> Guest:
        """A guest that writes all the time and has had some writes acknowledged."""
        guest = self.guest(volume, **options)
        guest.start_writers(blocks=256, delay_us=5000)
        guest.wait_acked(20)
        return guest

    def connection(self, volume: Volume, **changes: Any) -> str:
        """The path of a file with the volume's connection_info; ``changes`` go into data."""
        info = volume.connection_info()
        info['data'].update(changes)
        path = self.command.connection_file(info)
        self.addCleanup(Path(path).unlink, missing_ok=True)
        return path

    def swap(self, guest: Guest, volume: Volume, *options: object, **changes: Any) -> Result:
        """Run ``blockmirror swap`` to its end."""
        return self.command.run(
            'swap', guest.name, 'vda', self.connection(volume, **changes), *options
        )

    # -- judging -----------------------------------------------------------------------

    def source_of(self, guest: Guest, *, inactive: bool = False) -> etree._Element:
        """The ``<disk>`` of ``vda``."""
        flags = 2 if inactive else 0  # VIR_DOMAIN_XML_INACTIVE
        for disk in etree.fromstring(guest.domain.XMLDesc(flags)).iter('disk'):
            if _child(disk, 'target').get('dev') == 'vda':
                return disk
        raise AssertionError('the guest has no vda')

    def assert_on(self, guest: Guest, volume: Volume, *, inactive: bool | None = None) -> None:
        """The live XML (and the stored one, if there is one) names the volume; no job is left."""
        live = self.source_of(guest)
        self.assertIn(
            volume.name, etree.tostring(_child(live, 'source')).decode() + self._path(volume, live)
        )
        self.assertIsNone(live.find('mirror'), 'a mirror is left')
        self.assertEqual({}, guest.domain.blockJobInfo('vda', 0) or {})
        if inactive if inactive is not None else guest.persistent:
            stored = self.source_of(guest, inactive=True)
            self.assertEqual(_essence(_child(live, 'source')), _essence(_child(stored, 'source')))

    def _path(self, volume: Volume, disk: etree._Element) -> str:
        """A loop device does not carry the volume's name."""
        device = getattr(volume, 'device', '')
        dev = _child(disk, 'source').get('dev')
        return volume.name if device and dev == device else ''

    def assert_survived(self, guest: Guest, volume: Volume, *, exact: bool = True) -> Stat:
        """Stop the writers and compare the volume with all they had acknowledged (P1)."""
        stat = guest.stop_writers()
        self.assertEqual(0, stat.errors, 'the guest saw I/O errors')
        report = oracle.check(volume.read_back(), guest.acked(), FILLED, exact=exact)
        self.assertTrue(report.ok, report)
        self.assertGreater(stat.acked, 0)
        return stat

    def assert_survived_in_qcow2(self, guest: Guest, path: Path) -> None:
        """Stop the guest and find every write in the image and what is below it (P1)."""
        self.assertEqual(0, guest.stop_writers().errors)
        guest.poweroff()
        raw = self.command.home / 'read-back.raw'
        run(['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', str(path), str(raw)])
        report = oracle.check(raw, guest.acked(), FILLED)
        raw.unlink()
        self.assertTrue(report.ok, report)

    def assert_error(self, result: Result, code: int, *words: str) -> None:
        """The command ended with this code and one line that holds all the words."""
        self.assertEqual(code, result.code, result.err)
        for word in words:
            self.assertIn(word, result.error)

    def assert_ok(self, result: Result) -> None:
        """The command ended well."""
        self.assertEqual(0, result.code, result.out + result.err)

    def assert_nothing_left(self, guest: Guest | None = None) -> None:
        """No open swap, no probe domain, no secret of ours that no XML cites, no mark."""
        listed = self.command.run('list', '-f', 'json', '--active')
        self.assert_ok(listed)
        self.assertEqual([], listed.json)
        domains = self.lab.connect().listAllDomains()
        self.assertEqual([], [d.name() for d in domains if d.name().startswith('blockmirror-')])
        self.assertEqual(set(), self.our_secrets() - self._secrets_before - self._cited())
        if guest is not None:
            self.assertNotIn('blockmirror', self._metadata(guest))

    def our_secrets(self) -> set[str]:
        """UUIDs of libvirt secrets with our usage prefix."""
        return {
            secret.UUIDString()
            for secret in self.lab.connect().listAllSecrets()
            if (secret.usageID() or '').startswith('blockmirror/')
        }

    def _cited(self) -> set[str]:
        found: set[str] = set()
        for domain in self.lab.connect().listAllDomains():
            for flags in (0, 2):
                with contextlib.suppress(Exception):
                    tree = etree.fromstring(domain.XMLDesc(flags))
                    found |= {secret.get('uuid', '') for secret in tree.iter('secret')}
        return found

    def _metadata(self, guest: Guest) -> str:
        tree = etree.fromstring(guest.domain.XMLDesc(0))
        found = tree.find('metadata')
        return '' if found is None else etree.tostring(found).decode()

    def _forget_secrets(self) -> None:
        """Guests are gone: what they cited goes too."""
        connection = self.lab.connect()
        for name in self.our_secrets() - self._secrets_before:
            with contextlib.suppress(Exception):
                connection.secretLookupByUUIDString(name).undefine()

    def assert_copied(self, volume: Volume, writes: Iterable[Any]) -> None:
        """The volume has what was acknowledged when its copy was let go of, or later."""
        report = oracle.check(volume.read_back(), list(writes), FILLED, exact=False)
        self.assertTrue(report.ok, report)

    def assert_gone_from_qemu(self, guest: Guest) -> None:
        """QEMU has no job, node or secret of ours left."""
        found = guest.monitor('query-named-block-nodes')
        self.assertEqual([], [one for one in found if one['node-name'].startswith('bm-')])
        self.assertEqual([], guest.monitor('query-block-jobs'))
        objects = guest.monitor('qom-list', path='/objects')
        self.assertEqual([], [one for one in objects if one['name'].startswith('bm-')])

    def assert_survived_in_part(self, guest: Guest, volume: Volume) -> None:
        """As :meth:`assert_survived`, on a volume that is larger than the first one was."""
        self.assertEqual(0, guest.stop_writers().errors)
        part = self.lab.layout.scratch / f'{volume.id}.head'
        self.addCleanup(part.unlink)
        shutil.copy(volume.read_back(), part)
        os.truncate(part, SIZE)
        report = oracle.check(part, guest.acked(), FILLED, exact=True)
        self.assertTrue(report.ok, report)

    def swap_id(self) -> str:
        """The id of the only swap of this test's journal."""
        records = self.command.run('list', '-f', 'json').json
        self.assertEqual(1, len(records), records)
        return str(records[0]['swap_id'])


def _child(element: etree._Element, name: str) -> etree._Element:
    child = element.find(name)
    assert child is not None, f'no <{name}>'
    return child


def _essence(source: etree._Element) -> bytes:
    """A ``<source>`` without what differs between a live and a stored XML."""
    copy = etree.fromstring(etree.tostring(source))
    copy.attrib.pop('index', '')
    for child in copy.findall('seclabel') + copy.findall('privateData'):
        copy.remove(child)
    etree.indent(copy)
    return etree.tostring(copy, method='c14n').strip()
