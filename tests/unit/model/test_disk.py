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
from __future__ import annotations

import dataclasses
import unittest

from blockmirror_driver.model import (
    Auth,
    BlockSource,
    Disk,
    FileSource,
    Host,
    IscsiSource,
    NfsSource,
    OtherSource,
    RbdSource,
    Secret,
    SecretRef,
    SecretSpec,
    SecretUsage,
    Source,
)

CANARY = 'canary-91c4'
PLACEHOLDER = SecretRef(SecretUsage.CEPH, usage='placeholder')
SPEC = SecretSpec(SecretUsage.CEPH, 'placeholder', Secret(CANARY))
RBD = RbdSource('volumes', 'volume-1', (Host('10.0.0.1', 6789),), Auth('cinder', PLACEHOLDER))
ISCSI = IscsiSource('iqn.2010-10.org.openstack:v', 1, Host('fd00::1', 3260))
NFS = NfsSource(Host('filer'), '/srv/export one', 'volume-2')


class TestHost(unittest.TestCase):
    def test_ipv6_stands_in_brackets_only_when_shown(self) -> None:
        self.assertEqual('[fd00::1]:3260', str(Host('fd00::1', 3260)))
        self.assertEqual('[fd00::1]', str(Host('fd00::1')))
        self.assertEqual('mon.example:6789', str(Host('mon.example', 6789)))


class TestSources(unittest.TestCase):
    def test_names_are_libvirts(self) -> None:
        self.assertEqual('volumes/volume-1', RBD.name)
        namespaced = dataclasses.replace(RBD, namespace='tenant')
        self.assertEqual('volumes/tenant/volume-1', namespaced.name)
        self.assertEqual('iqn.2010-10.org.openstack:v/1', ISCSI.name)
        self.assertEqual('/srv/export one/volume-2', NFS.name)
        self.assertEqual('/volume-2', dataclasses.replace(NFS, export='/').name)

    def test_what_a_user_sees_has_no_address_and_no_directory(self) -> None:
        sources: tuple[Source, ...] = (
            RBD,
            ISCSI,
            NFS,
            FileSource('/secret/place/file-1'),
            BlockSource('/dev/mapper/lv-1'),
            OtherSource('nbd', '<source><host name="10.0.0.1"/></source>'),
        )
        for source in sources:
            with self.subTest(source):
                shown = source.describe()
                for hidden in ('10.0.0.1', 'fd00', 'filer', '/srv', '/secret', '/dev'):
                    self.assertNotIn(hidden, shown)

    def test_alternate_portals_do_not_count(self) -> None:
        other = dataclasses.replace(ISCSI, alternates=((Host('10.0.0.2', 3260), 'iqn.x', 1),))
        self.assertEqual(ISCSI, other)


class TestDisk(unittest.TestCase):
    def test_values_are_frozen_and_hashable_without_secrets(self) -> None:
        disk = Disk(RBD)
        with self.assertRaises(dataclasses.FrozenInstanceError):
            disk.target_dev = 'vdb'  # type: ignore[misc]
        self.assertEqual(hash(disk), hash(dataclasses.replace(disk)))

    def test_secrets_ids_and_notes_do_not_count(self) -> None:
        plain = Disk(RBD)
        full = Disk(RBD, secrets=(SPEC,), volume_id='1', notes=('portal chosen',))
        self.assertEqual(plain, full)
        self.assertEqual(hash(plain), hash(full))

    def test_no_secret_is_shown(self) -> None:
        disk = Disk(RBD, secrets=(SPEC,))
        for text in (repr(disk), str(disk), repr(SPEC), str(disk.secrets)):
            self.assertNotIn(CANARY, text)

    def test_with_source_keeps_the_rest(self) -> None:
        disk = Disk(RBD, target_dev='sdb', serial='1')
        moved = disk.with_source(NFS)
        self.assertEqual((NFS, 'sdb', '1'), (moved.source, moved.target_dev, moved.serial))
        self.assertEqual(RBD, disk.source)

    def test_with_secret_replaces_the_placeholder(self) -> None:
        ref = SecretRef(SecretUsage.CEPH, uuid='11111111-2222-4333-8444-555555555555')
        source = Disk(RBD, secrets=(SPEC,)).with_secret(SPEC, ref).source
        assert isinstance(source, RbdSource)
        self.assertEqual(Auth('cinder', ref), source.auth)

    def test_with_secret_leaves_what_does_not_cite_it(self) -> None:
        ref = SecretRef(SecretUsage.CEPH, uuid='11111111-2222-4333-8444-555555555555')
        cited = dataclasses.replace(RBD, auth=Auth('cinder', SecretRef(SecretUsage.CEPH, 'u')))
        for disk in (Disk(NFS), Disk(ISCSI), Disk(FileSource('/x')), Disk(cited)):
            self.assertIs(disk, disk.with_secret(SPEC, ref))
