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
"""Encrypted disks: to LUKS, between LUKS volumes, and back in the clear if that is asked for."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import tempfile
import uuid
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.functional.base import FILLED, MIB, SIZE, LabTestCase
from tests.functional.command import Result
from tests.lab import oracle
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.keys import folder_keys
from tests.lab.process import run
from tests.lab.volumes import NfsVolume, Volume

#: Bytes of the header that QEMU 7.2 writes.
HEADER = 2068480


class LuksTest(LabTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.keys: dict[str, str] = {}

    # -- making ------------------------------------------------------------------------

    def luks(self, kind: str, spare: int = 0) -> Volume:
        """A formatted volume that a guest sees ``SIZE`` bytes of, with a key of its own."""
        options = {'give_keyring': True} if kind == 'rbd' else {}
        volume = self.volume(kind, SIZE + HEADER + spare, **options)
        path = Path(os.environ.get('TMPDIR', '/tmp')) / f'key-{volume.id}'
        path.touch(mode=0o600)
        self.addCleanup(path.unlink)
        # Each volume has another, and the search for secrets knows how they all begin.
        path.write_text(f'{self.lab.credentials.luks_passphrase}{secrets.token_hex(8)}')
        self.keys[volume.id] = str(path)
        result = self.command.run(
            'format-luks', self.connection(volume), '--key-file', self.keys[volume.id]
        )
        self.assertEqual(0, result.code, result.err)
        self.assertIn(f'the first {HEADER} bytes are the header', result.err)
        return volume

    def stored(self, volume: Volume) -> str:
        """Make a key for a volume, which a key manager has under the id that is returned."""
        folder = Path(tempfile.mkdtemp(prefix='keys-'))
        self.addCleanup(shutil.rmtree, folder)
        with self.command.config.open('a') as conf:
            conf.write(folder_keys.as_text(folder_keys.configuration(folder)))
        key_id = str(uuid.uuid4())
        key = f'{self.lab.credentials.luks_passphrase}{secrets.token_hex(8)}'.encode()
        (folder / key_id).write_bytes(key)
        self.keys[volume.id] = str(folder / 'passphrase')
        (folder / 'passphrase').write_text(key.hex())
        return key_id

    def move(self, guest: Guest, volume: Volume, *options: str, **changes: Any) -> Result:
        """Swap, with the key of the destination if it has one."""
        key = self.keys.get(volume.id)
        if key is not None:
            options = (*options, '--key-file', key)
            changes['encrypted'] = True
        return self.swap(guest, volume, *options, **changes)

    # -- judging -----------------------------------------------------------------------

    def plain(self, volume: Volume) -> Path:
        """What a guest would see of an encrypted volume, as QEMU's own tool decrypts it."""
        out = self.lab.layout.scratch / f'{volume.id}.plain'
        self.addCleanup(out.unlink)
        image = f'driver=luks,key-secret=key,file.filename={volume.read_back()}'
        secret = f'secret,id=key,file={self.keys[volume.id]}'
        argv = ['qemu-img', 'convert', '--object', secret, '--image-opts', image, '-O', 'raw']
        run([*argv, str(out)])
        return out

    def survived(self, guest: Guest, volume: Volume) -> None:
        """All that was acknowledged is there, decrypted with the volume's own key only."""
        stat = guest.stop_writers()
        self.assertEqual((0, True), (stat.errors, stat.acked > 0))
        with volume.read_back().open('rb') as stored:
            self.assertEqual(b'LUKS\xba\xbe', stored.read(6))
        plain = self.plain(volume)
        with plain.open('r+b') as decrypted:
            decrypted.truncate(SIZE)
        report = oracle.check(plain, guest.acked(), FILLED, exact=True)
        self.assertTrue(report.ok, report)

    def encryption(self, guest: Guest, *, inactive: bool = False) -> list[str | None]:
        """The uuids of the passphrases that the disk cites."""
        disk = self.source_of(guest, inactive=inactive)
        return [one.get('uuid') for one in disk.iterfind('source/encryption/secret')]

    def stays(self, result: Result, guest: Guest, source: Volume, *words: str) -> None:
        """Refused, and nothing has changed."""
        self.assert_error(result, 3, *words)
        self.assert_on(guest, source)

    # -- tests -------------------------------------------------------------------------

    def test_around(self) -> None:
        """Plain to LUKS, on to another key on each backend, restarted, and to plain again."""
        first, last = self.volume('file', filled=True), self.volume('rbd')
        guest = self.writing_guest(first)
        for kind in ('nfs', 'rbd', 'iscsi'):
            volume = self.luks(kind)
            self.assert_ok(self.move(guest, volume))
            self.assert_on(guest, volume)
            cited = self.encryption(guest)
            self.assertEqual([cited[0]], cited)
            self.assertEqual(cited, self.encryption(guest, inactive=True))
            guest.wait_acked(20)
        self.survived(guest, volume)
        # The stored XML and the stored secret are all that a cold start has.
        checksum = guest.crc('vda', 0, SIZE)
        guest.poweroff()
        self.lab.libvirtd.restart()
        guest.boot()
        self.assertEqual(checksum, guest.crc('vda', 0, SIZE))
        guest.start_writers(blocks=256, delay_us=2000)
        guest.wait_acked(20)
        refused = self.move(guest, last)
        self.stays(refused, guest, volume, 'encrypted and the destination is not', '--decrypt')
        self.assert_ok(self.move(guest, last, '--decrypt'))
        self.assert_on(guest, last)
        self.assertEqual([], self.encryption(guest))
        guest.wait_acked(20)
        self.assert_survived(guest, last)
        self.assert_nothing_left(guest)

    @pytest.mark.campaign
    def test_keys_of_a_key_manager(self) -> None:
        """Named by their ids alone: formatted, moved to, on to another key, and restarted."""
        source = self.volume('file', filled=True)
        guest = self.writing_guest(source)
        for kind in ('rbd', 'nfs'):
            options = {'give_keyring': True} if kind == 'rbd' else {}
            volume = self.volume(kind, SIZE + HEADER, **options)
            key_id = self.stored(volume)
            made = self.command.run('format-luks', self.connection(volume), '--key-id', key_id)
            self.assertEqual(0, made.code, made.err)
            self.assert_ok(self.swap(guest, volume, '--key-id', key_id, encrypted=True))
            self.assert_on(guest, volume)
            guest.wait_acked(20)
        absent = self.swap(guest, source, '--key-id', str(uuid.uuid4()))
        self.stays(absent, guest, volume, 'Key not found', '[key_manager]')
        self.survived(guest, volume)
        checksum = guest.crc('vda', 0, SIZE)
        guest.poweroff()
        guest.boot()
        self.assertEqual(checksum, guest.crc('vda', 0, SIZE))
        self.assert_nothing_left(guest)

    @pytest.mark.campaign
    def test_in_a_group(self) -> None:
        """Two disks together, each to a volume with a key of its own, and restarted."""
        old = {'vda': self.volume('file', filled=True), 'vdb': self.volume('nfs', filled=True)}
        disks = [volume.disk_xml(dev) for dev, volume in old.items()]
        guest = Guest(self.lab, Domain(f'bm-luks-{os.getpid()}', disks))
        self.addCleanup(guest.destroy)
        guest.start()
        new = {'vda': self.luks('iscsi'), 'vdb': self.luks('nfs')}
        argv = ['swap-group', guest.name]
        argv += [f'{dev}={self.connection(one, encrypted=True)}' for dev, one in new.items()]
        one_key = [f'--key-file=vda={self.keys[new["vda"].id]}']
        both_keys = [*one_key, f'--key-file=vdb={self.keys[new["vdb"].id]}']
        refused = self.command.run(*argv, *one_key)
        self.assert_error(refused, 3, 'its key is not given')
        before = {dev: guest.crc(dev, 0, SIZE) for dev in new}
        self.assert_ok(self.command.run(*argv, *both_keys))
        guest.poweroff()
        guest.boot()
        for dev, volume in new.items():
            tree = etree.fromstring(guest.domain.XMLDesc(0))
            disk = next(one for one in tree.iter('disk') if one.xpath(f'target[@dev="{dev}"]'))
            self.assertIn(volume.name, etree.tostring(disk).decode())
            self.assertIsNotNone(disk.find('source/encryption/secret'))
            self.assertEqual(before[dev], guest.crc(dev, 0, SIZE))
        self.assert_nothing_left(guest)

    @pytest.mark.campaign
    def test_refusals(self) -> None:
        """No key, the wrong one, no header, the wrong size, a volume that is not blank."""
        source, there = self.volume('nfs', filled=True), self.luks('nfs')
        bare = self.volume('nfs', SIZE + HEADER)
        guest = self.writing_guest(source)
        key = self.keys[there.id]
        without = self.swap(guest, there, encrypted=True)
        self.stays(without, guest, source, 'its key is not given', '--key-file')
        self.keys[bare.id] = key
        self.stays(self.move(guest, bare), guest, source, 'LUKS')
        wrong = Path(key).with_suffix('.wrong')
        wrong.write_text('not it')
        self.addCleanup(wrong.unlink)
        self.keys[there.id] = str(wrong)
        self.stays(self.move(guest, there), guest, source, 'password')
        small = self.volume('nfs', SIZE)
        self.format_with(small, key)
        needed = f'make it {SIZE + HEADER} bytes: the LUKS header takes {HEADER}'
        self.stays(self.move(guest, small), guest, source, f'{HEADER} bytes too small', needed)
        again = self.command.run('format-luks', self.connection(there), '--key-file', key)
        self.assert_error(again, 3, 'is not blank', '--force')
        used = self.command.run('format-luks', self.connection(source), '--key-file', key)
        self.assert_error(used, 3, f'already vda of {guest.name}')
        self.assert_survived(guest, source)
        self.assert_nothing_left(guest)

    @pytest.mark.campaign
    def test_a_larger_one(self) -> None:
        """The header is reckoned into the part that is used."""
        source, volume = self.volume('file', filled=True), self.luks('iscsi', MIB)
        guest = self.writing_guest(source)
        self.assert_ok(self.move(guest, volume, '--allow-larger'))
        self.assert_on(guest, volume)
        self.assertEqual(SIZE, guest.size('vda'))
        guest.wait_acked(20)
        self.survived(guest, volume)

    @pytest.mark.campaign
    def test_within_a_qcow2(self) -> None:
        """To one, started from it, and on to a raw volume."""
        source, last = self.volume('file', filled=True), self.luks('iscsi')
        guest = self.writing_guest(source)
        path = self.lab.nfs.path / f'volume-{uuid.uuid4()}'
        self.addCleanup(path.unlink, missing_ok=True)
        key = self.keys[last.id]
        options = 'encrypt.format=luks,encrypt.key-secret=key'
        argv = ['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options]
        run([*argv, '--object', f'secret,id=key,file={key}', str(path), str(SIZE)])
        path.chmod(0o666)
        told = {'name': path.name, 'format': 'qcow2', 'encrypted': True}
        nfs = NfsVolume(self.lab)
        self.assert_error(
            self.command.run('format-luks', self.connection(nfs, **told), '--key-file', key),
            3,
            'is encrypted when it is made',
        )
        self.assert_ok(self.swap(guest, nfs, '--key-file', key, **told))
        for inactive in (False, True):
            disk = self.source_of(guest, inactive=inactive)
            self.assertEqual(['qcow2'], [one.get('type') for one in disk.findall('driver')])
            self.assertTrue(self.encryption(guest, inactive=inactive))
        guest.wait_acked(20)
        self.assertEqual(0, guest.stop_writers().errors)
        checksum = guest.crc('vda', 0, SIZE)
        guest.poweroff()
        guest.boot()
        self.assertEqual(checksum, guest.crc('vda', 0, SIZE))
        guest.start_writers(blocks=256, delay_us=2000)
        guest.wait_acked(20)
        self.assert_ok(self.move(guest, last))
        self.assert_on(guest, last)
        guest.wait_acked(20)
        self.survived(guest, last)
        self.assert_nothing_left(guest)

    @pytest.mark.campaign
    def test_a_crash_on_either_side_of_the_copy(self) -> None:
        """Recovered without the key: libvirt has it, and forgets it when nobody cites it."""
        source, destination = self.volume('file', filled=True), self.luks('nfs')
        guest = self.writing_guest(source)
        argv = ['swap', guest.name, 'vda', self.connection(destination, encrypted=True)]
        argv += ['--key-file', self.keys[destination.id]]
        for where, code, there in (('after:prepared', 6, False), ('after:ready', 0, True)):
            running = self.command.start(*argv, crash=where)
            self.assertEqual(-signal.SIGKILL, running.wait().code)
            self.assertEqual(code, self.command.run('recover').code)
            self.assertEqual(there, bool(self.encryption(guest)))
            self.assert_nothing_left(guest)
        self.assert_on(guest, destination)
        guest.wait_acked(20)
        self.survived(guest, destination)

    def format_with(self, volume: Volume, key: str) -> None:
        """Format a volume with a key."""
        self.keys[volume.id] = key
        result = self.command.run('format-luks', self.connection(volume), '--key-file', key)
        self.assertEqual(0, result.code, result.err)
