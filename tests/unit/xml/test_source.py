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
"""A source is typed only when all of it is understood; all others can be compared."""

from __future__ import annotations

import unittest

from blockmirror_driver.model import (
    Auth,
    FileSource,
    Host,
    Identity,
    IscsiSource,
    NbdSource,
    NfsSource,
    OtherSource,
    RbdSource,
    SecretRef,
    SecretUsage,
    Source,
)
from blockmirror_driver.xml import document
from blockmirror_driver.xml.disk import parse_source, same_volume
from tests.unit.xml import disks


def parse(text: str) -> Source:
    return parse_source(document.parse(text))


def network(inside: str, attributes: str) -> Source:
    return parse(f"<disk type='network'><source {attributes}>{inside}</source></disk>")


HOST = "<host name='h'/>"


class TestTyped(unittest.TestCase):
    def test_auth_beside_the_source(self) -> None:
        """Older definitions keep <auth> there, and libvirt leaves it."""
        source = parse(
            "<disk type='network'><source protocol='rbd' name='p/i'/>"
            f"<auth username='u'><secret type='ceph' uuid='{disks.UUID.upper()}'/></auth></disk>"
        )
        auth = Auth('u', SecretRef(SecretUsage.CEPH, uuid=disks.UUID))
        self.assertEqual(RbdSource('p', 'i', auth=auth), source)

    def test_iscsi_without_a_lun(self) -> None:
        self.assertEqual(
            IscsiSource('iqn.x', 0, Host('h')), network(HOST, "protocol='iscsi' name='iqn.x'")
        )

    def test_numeric_identity(self) -> None:
        found = network(
            f"{HOST}<identity user='+107' group='64055'/>", "protocol='nfs' name='/a/b'"
        )
        self.assertEqual(NfsSource(Host('h'), '/a', 'b', Identity(107, 64055)), found)

    def test_a_mirror(self) -> None:
        text = "<mirror type='file' job='copy'><source file='/x' index='3'/></mirror>"
        self.assertEqual(FileSource('/x'), parse(text))
        self.assertEqual(FileSource('/y'), parse("<mirror file='/y'/>"))


class TestOther(unittest.TestCase):
    def test_what_is_not_expressed_is_other(self) -> None:
        cases = {
            'snapshot': network("<snapshot name='s'/>", "protocol='rbd' name='p/i'"),
            'no pool': network('', "protocol='rbd' name='i'"),
            'four parts': network('', "protocol='rbd' name='a/b/c/d'"),
            'no name': network('', "protocol='rbd'"),
            'transport': network("<host name='h' transport='rdma'/>", "protocol='rbd' name='p/i'"),
            'port': network("<host name='h' port='x'/>", "protocol='rbd' name='p/i'"),
            'user': network(
                "<auth username='a.b'><secret type='ceph' usage='u'/></auth>",
                "protocol='rbd' name='p/i'",
            ),
            'no secret': network("<auth username='u'/>", "protocol='rbd' name='p/i'"),
            'secret of another type': network(
                "<auth username='u'><secret type='vtpm' usage='u'/></auth>",
                "protocol='rbd' name='p/i'",
            ),
            'lun': network(HOST, "protocol='iscsi' name='iqn/x'"),
            'no portal': network('', "protocol='iscsi' name='iqn/1'"),
            'identity by name': network(
                f"{HOST}<identity user='nova'/>", "protocol='nfs' name='/a/b'"
            ),
            'no nfs host': network('', "protocol='nfs' name='/a/b'"),
            'slices': parse(
                "<disk type='file'><source file='/a'><slices>"
                "<slice type='storage' offset='512' size='512'/></slices></source></disk>"
            ),
            'gluster': network(HOST, "protocol='gluster' name='x'"),
            'nbd with another name in its certificate': network(
                HOST, "protocol='nbd' name='x' tls='yes' tlsHostname='y'"
            ),
            'nbd without an export': network(HOST, "protocol='nbd'"),
            'volume': parse("<disk type='volume'><source pool='p' volume='v'/></disk>"),
        }
        for name, source in cases.items():
            with self.subTest(name):
                self.assertIsInstance(source, OtherSource)

    def test_volatile_parts_do_not_count(self) -> None:
        plain = network(HOST, "protocol='gluster' name='x'")
        dressed = network(
            f"{HOST}\n <reservations managed='yes'/><privateData><nodenames/></privateData>"
            "<auth username='u'><secret type='iscsi' usage='u'/></auth>",
            "name='x' index='2' protocol='gluster'",
        )
        self.assertTrue(same_volume(plain, dressed))
        self.assertFalse(same_volume(plain, network(HOST, "protocol='gluster' name='y'")))

    def test_the_fingerprint_is_not_shown(self) -> None:
        source = network(HOST, "protocol='gluster' name='x'")
        self.assertEqual('gluster:?', source.describe())
        self.assertNotIn('name', repr(source))


class TestSameVolume(unittest.TestCase):
    def test_rbd(self) -> None:
        one = RbdSource('p', 'i', (Host('A.example.'), Host('::1', 6789)), disks.CEPH)
        for same in (
            RbdSource('p', 'i', (Host('0:0:0:0:0:0:0:1', 3300),), config_file='/c'),
            RbdSource('p', 'i', (Host('c'), Host('a.example', 6789))),
            RbdSource('p', 'i'),
        ):
            self.assertTrue(same_volume(one, same), same)
            self.assertTrue(same_volume(same, one), same)
        for other in (
            RbdSource('q', 'i', one.hosts),
            RbdSource('p', 'j', one.hosts),
            RbdSource('p', 'i', one.hosts, namespace='n'),
            RbdSource('p', 'i', (Host('b'),)),
            RbdSource('p', 'i', (Host('::1', 6790),)),
            FileSource('/p/i'),
        ):
            self.assertFalse(same_volume(one, other), other)

    def test_iscsi(self) -> None:
        one = IscsiSource('t', 1, Host('a'), disks.CHAP, initiator='i')
        self.assertTrue(same_volume(one, IscsiSource('t', 1, Host('A', 3260))))
        for other in (
            IscsiSource('t', 2, Host('a')),
            IscsiSource('u', 1, Host('a')),
            IscsiSource('t', 1, Host('b')),
            IscsiSource('t', 1, Host('a', 3261)),
        ):
            self.assertFalse(same_volume(one, other), other)

    def test_nfs_and_files(self) -> None:
        one = NfsSource(Host('a'), '/x//y', 'f', Identity(0, 0))
        self.assertTrue(same_volume(one, NfsSource(Host('a'), '/x/y', 'f')))
        self.assertFalse(same_volume(one, NfsSource(Host('b'), '/x/y', 'f')))
        self.assertFalse(same_volume(one, NfsSource(Host('a'), '/x', 'f')))
        self.assertTrue(same_volume(FileSource('//a/b'), FileSource('/a/./b')))
        self.assertFalse(same_volume(FileSource('/a/b'), FileSource('/a/c')))


class TestNbd(unittest.TestCase):
    def test_default_port(self) -> None:
        plain = network(HOST, "protocol='nbd' name='x'")
        self.assertEqual(NbdSource('x', Host('h')), plain)
        ported = network("<host name='H.' port='10809'/>", "protocol='nbd' name='x' tls='no'")
        self.assertTrue(same_volume(plain, ported))
        for other in (
            network("<host name='h' port='10810'/>", "protocol='nbd' name='x'"),
            network(HOST, "protocol='nbd' name='y'"),
            network("<host transport='unix' socket='/h'/>", "protocol='nbd' name='x'"),
        ):
            self.assertFalse(same_volume(plain, other))

    def test_socket(self) -> None:
        found = network("<host transport='unix' socket='/run/a'/>", "protocol='nbd' name='x'")
        self.assertEqual(NbdSource('x', socket='/run/a'), found)
        self.assertTrue(same_volume(found, NbdSource('x', socket='/run//a')))
