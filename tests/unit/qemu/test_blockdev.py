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
"""Disks as QEMU's own tools open them."""

import json
from dataclasses import replace
from typing import Any

import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import (
    Auth,
    BlockSource,
    Disk,
    Driver,
    Encryption,
    FileSource,
    Host,
    Identity,
    IscsiSource,
    NfsSource,
    OtherSource,
    RbdSource,
    Secret,
    SecretRef,
    SecretSpec,
    SecretUsage,
)
from blockmirror_driver.qemu import blockdev

CANARY = 'sesame-canary'
SPEC = SecretSpec(SecretUsage.ISCSI, 'usage', Secret(CANARY))
AUTH = Auth('user', SecretRef(SecretUsage.ISCSI, usage='usage'))
ISCSI = Disk(IscsiSource('iqn.2026-01.example:x', 1, Host('192.0.2.1', 3260), auth=AUTH))
RBD_SOURCE = RbdSource('pool', 'image', (Host('192.0.2.1', 6789), Host('2001:db8::1')))
RBD = Disk(RBD_SOURCE)


def file_options(disk: Disk) -> dict[str, Any]:
    """The options of what is below the format."""
    made = blockdev.of(disk, 'it')
    options: dict[str, Any] = dict(made.options)
    protocol: dict[str, Any] = options['file']
    return protocol


class OptionsTest(testtools.TestCase):
    def test_iscsi(self) -> None:
        """CHAP by reference; the value is nowhere in what can be printed."""
        made = blockdev.of(replace(ISCSI, secrets=(SPEC,)), 'to')
        self.assertEqual(
            {
                'driver': 'iscsi',
                'transport': 'tcp',
                'portal': '192.0.2.1:3260',
                'target': 'iqn.2026-01.example:x',
                'lun': 1,
                'user': 'user',
                'password-secret': 'to-secret',
            },
            made.options['file'],
        )
        self.assertEqual({'to-secret': Secret(CANARY)}, made.secrets)
        self.assertNotIn(CANARY, repr(made) + made.filename)

    def test_iscsi_without_its_password(self) -> None:
        """A password that stayed in libvirt is asked for, not left away."""
        self.assertRaises(exception.SecretUnavailable, blockdev.of, ISCSI, 'to')

    def test_iscsi_open_to_all(self) -> None:
        source = IscsiSource('iqn.x:y', 0, Host('2001:db8::1', 3260), initiator='iqn.me:a')
        told = file_options(Disk(source))
        self.assertEqual('[2001:db8::1]:3260', told['portal'])
        self.assertEqual('iqn.me:a', told['initiator-name'])
        self.assertNotIn('user', told)

    def test_rbd(self) -> None:
        """Monitors with a port each; without a key the user's keyring is librados's to find."""
        source = replace(
            RBD_SOURCE,
            auth=Auth('cinder', SecretRef(SecretUsage.CEPH, uuid='6cd1ba1c-2a4b-4c3f-9d3a-1')),
            config_file='/etc/ceph/other.conf',
            namespace='ns',
        )
        self.assertEqual(
            {
                'driver': 'rbd',
                'pool': 'pool',
                'namespace': 'ns',
                'image': 'image',
                'conf': '/etc/ceph/other.conf',
                'user': 'cinder',
                'server': [
                    {'host': '192.0.2.1', 'port': '6789'},
                    {'host': '[2001:db8::1]', 'port': '6789'},
                ],
            },
            file_options(replace(RBD, source=source)),
        )
        given = SecretSpec(SecretUsage.CEPH, 'its', Secret(CANARY))
        cites = replace(source, auth=Auth('cinder', SecretRef(SecretUsage.CEPH, usage='its')))
        keyed = replace(RBD, source=cites, secrets=(given,))
        self.assertEqual('it-secret', file_options(keyed)['key-secret'])

    def test_luks(self) -> None:
        """Each of the two secrets is cited where it belongs, whatever their order."""
        key = SecretSpec(SecretUsage.VOLUME, 'luks', Secret('passphrase'))
        cited = Encryption(SecretRef(SecretUsage.VOLUME, usage='luks'))
        for specs in ((SPEC, key), (key, SPEC)):
            made = blockdev.of(replace(ISCSI, encryption=cited, secrets=specs), 'to')
            self.assertEqual('luks', made.format)
            self.assertEqual(
                ('luks', 'to-key'), (made.options['driver'], made.options['key-secret'])
            )
            self.assertEqual('to-secret', made.options['file']['password-secret'])
            expected = {'to-key': key.value, 'to-secret': SPEC.value}
            self.assertEqual(expected, dict(made.secrets))
        lacks = replace(ISCSI, encryption=cited, secrets=(SPEC,))
        self.assertRaises(exception.SecretUnavailable, blockdev.of, lacks, 'to')

    def test_rbd_without_cephx(self) -> None:
        """Said so, so that librados does not look for a keyring."""
        self.assertEqual(['none'], file_options(RBD)['auth-client-required'])

    def test_nfs(self) -> None:
        source = NfsSource(Host('nas'), '/export', 'volume-1', Identity(user=0))
        self.assertEqual(
            {
                'driver': 'nfs',
                'server': {'type': 'inet', 'host': 'nas'},
                'path': '/export/volume-1',
                'user': 0,
            },
            file_options(Disk(source)),
        )

    def test_local(self) -> None:
        self.assertEqual('file', file_options(Disk(FileSource('/x')))['driver'])
        self.assertEqual('host_device', file_options(Disk(BlockSource('/dev/x')))['driver'])

    def test_refused(self) -> None:
        """What can't be built, and formats that could name other files."""
        for disk in (
            Disk(OtherSource('vhostuser', '<source/>')),
            Disk(FileSource('/x'), driver=Driver(format='vmdk')),
        ):
            self.assertRaises(exception.UnsupportedVolume, blockdev.of, disk, 'it')

    def test_no_format_is_guessed(self) -> None:
        """The format is a layer of its own, and qcow2 follows no backing file."""
        raw = blockdev.of(Disk(FileSource('/x')), 'it')
        self.assertEqual('raw', raw.options['driver'])
        qcow2 = blockdev.of(Disk(FileSource('/x'), driver=Driver(format='qcow2')), 'it')
        self.assertIn('backing', qcow2.options)
        self.assertIsNone(qcow2.options['backing'])

    def test_luks_in_a_qcow2(self) -> None:
        """It is qcow2's own option; the key is a secret of the tool's."""
        cited = SecretRef(SecretUsage.VOLUME, usage='key')
        disk = Disk(
            FileSource('/x'),
            driver=Driver(format='qcow2'),
            encryption=Encryption(cited),
            secrets=(SecretSpec(SecretUsage.VOLUME, 'key', Secret('c4n4ry')),),
        )
        made = blockdev.of(disk, 'it')
        self.assertEqual(('qcow2', 'qcow2'), (made.format, made.options['driver']))
        self.assertEqual({'format': 'luks', 'key-secret': 'it-key'}, made.options['encrypt'])
        self.assertEqual({'it-key': Secret('c4n4ry')}, made.secrets)

    def test_nothing_is_injected(self) -> None:
        """Names with the separators of QEMU's other syntaxes stay one value each."""
        hostile = 'x,file.driver=file:conf=/etc/passwd"}\',={"a'
        for source in (
            RbdSource(hostile, hostile),
            IscsiSource(hostile, 0, Host(hostile)),
            NfsSource(Host(hostile), f'/{hostile}', hostile),
            FileSource(hostile),
        ):
            made = blockdev.of(Disk(source), 'it')
            prefix, _, text = made.filename.partition(':')
            self.assertEqual('json', prefix)
            self.assertEqual(made.options, json.loads(text))
