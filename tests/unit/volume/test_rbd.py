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
"""Images of Ceph: names, monitors, and how the key is found."""

from __future__ import annotations

import base64

from blockmirror_driver import exception
from blockmirror_driver.model import Auth, Host, RbdSource, SecretRef, SecretUsage
from blockmirror_driver.volume.rbd import RbdVolumeDriver
from tests.unit.volume import cases
from tests.unit.volume.cases import ABSENT, mixed


class RbdTestCase(cases.VolumeTestCase):
    kind = 'rbd'

    def source(self, **changes: object) -> RbdSource:
        source = self.disk(**changes).source  # type: ignore[arg-type]
        assert isinstance(source, RbdSource)
        return source


class TestNames(RbdTestCase):
    def test_names_that_ceph_allows(self) -> None:
        for pool, image in (
            ('rbd', 'volume-1'),
            ('ssd.ec_data-01', 'volume-1'),
            ('a pool', "it's #1 (+~!$%&*)"),
            ('пул', '卷'),
            ('-p', '--image'),
        ):
            with self.subTest(pool):
                source = self.source(name=f'{pool}/{image}')
                self.assertEqual((pool, image), (source.pool, source.image))

    def test_a_name_longer_than_any_path(self) -> None:
        self.assertIn('longer than 4096', str(self.refused(name='volumes/' + 'a' * 1_000_000)))

    def test_a_namespace(self) -> None:
        disk = self.disk(name='volumes/tenant/volume-1')
        assert isinstance(disk.source, RbdSource)
        self.assertEqual(('volumes', 'volume-1'), (disk.source.pool, disk.source.image))
        self.assertEqual('tenant', disk.source.namespace)
        self.assertIn('namespace', disk.notes[0])

    def test_what_would_be_an_option_or_a_snapshot(self) -> None:
        for name in (
            'volumes/v:conf=/tmp/evil',
            'volumes/v:mon_host=192.0.2.66',
            'volumes/v@snap',
            'volumes:id=admin/v',
            'volumes/v\\:conf',
            'volumes/v,readonly',
            'volumes/v=1',
        ):
            with self.subTest(name):
                self.assertIn('data.name', str(self.refused(name=name)))

    def test_what_is_no_name(self) -> None:
        for name in (
            ABSENT, None, '', 'volume', '/volume', 'volumes/', 'a//b', 'a/b/c/d', ' a/b', 'a/b ',
            'a/b\n', 'a/\0', 'a/\ud800', 'a/\x1b[2J', 5, ['a/b'], {'a': 'b'}, b'a/b', True,
        ):  # fmt: skip
            with self.subTest(name):
                self.refused(name=name)


class TestMonitors(RbdTestCase):
    def hosts(self, **changes: object) -> tuple[Host, ...]:
        return self.source(**changes).hosts

    def test_one_and_many(self) -> None:
        for count in (1, 2, 7):
            names = [f'192.0.2.{n}' for n in range(count)]
            expected = tuple(Host(n, 6789) for n in names)
            self.assertEqual(expected, self.hosts(hosts=names, ports=['6789'] * count))

    def test_ipv6_and_names(self) -> None:
        names = ['2001:db8::1', '[2001:db8::2]', 'fe80:0:0:0:200:f8ff:fe21:67cf', 'mon.example']
        ports = ['3300', 6789, ' 6790 ', None]
        self.assertEqual(
            (
                Host('2001:db8::1', 3300),
                Host('2001:db8::2', 6789),
                Host(names[2], 6790),
                Host('mon.example'),
            ),
            self.hosts(hosts=names, ports=ports),
        )

    def test_ports_fewer_empty_or_absent(self) -> None:
        names = ['192.0.2.1', '192.0.2.2']
        for ports in ([], None, ABSENT, ['', ''], [None]):
            with self.subTest(ports):
                expected = (Host(names[0]), Host(names[1]))
                self.assertEqual(expected, self.hosts(hosts=names, ports=ports))
        disk = self.disk(hosts=names, ports=['6789'])
        self.assertEqual((Host(names[0], 6789), Host(names[1])), disk.source.hosts)  # type: ignore[union-attr]
        self.assertIn('1 monitors without a port', disk.notes[0])

    def test_more_ports_than_monitors(self) -> None:
        disk = self.disk(hosts=['192.0.2.1'], ports=['6789', '6790'])
        self.assertIn('rest ignored', disk.notes[0])

    def test_no_monitors(self) -> None:
        for hosts in mixed([], None, ABSENT):
            disk = self.disk(hosts=hosts, ports=[])
            self.assertIn('ceph.conf', disk.notes[0])

    def test_no_monitors_and_another_cluster(self) -> None:
        """Else librados would open the image of the same name in the default cluster."""
        source = self.source(hosts=[], ports=[], cluster_name='backup')
        self.assertEqual('/etc/ceph/backup.conf', source.config_file)
        self.assertIsNone(self.source(cluster_name='backup').config_file)
        for name in ('../x', 'a/b', '', ' ', '-a'):
            if name:
                self.refused(cluster_name=name)

    def test_a_configured_file(self) -> None:
        conf = cases.options(rbd_config_file='/etc/ceph/short.conf')
        for cluster in ('ceph', 'backup'):
            source = self.source(conf=conf, cluster_name=cluster, hosts=[], ports=[])
            self.assertEqual('/etc/ceph/short.conf', source.config_file)

    def test_what_is_no_monitor(self) -> None:
        for host in (
            '', None, 5, 'a b', 'a_b', '192.0.2.1:6789', 'a;b', 'a,b', '[192.0.2.1]', '[a]',
            'fe80::1%eth0', '-a', '.', '[::1', 'a\n', '\ud800', ['192.0.2.1'], 'a' * 300,
        ):  # fmt: skip
            with self.subTest(host):
                self.assertIn('data.hosts[0]', str(self.refused(hosts=[host], ports=['1'])))
        for hosts in ('192.0.2.1', {'a': 1}, 5):
            self.refused(hosts=hosts)

    def test_what_is_no_port(self) -> None:
        for port in (0, 65536, -1, '0', 'x', '1.0', 1.5, True, [1], '9' * 5000, 10**5000, '٣'):
            with self.subTest(type(port)):
                self.assertIn('data.ports[1]', str(self.refused(ports=['6789', port])))
        self.refused(ports='6789')


class TestAuth(RbdTestCase):
    def test_with_a_uuid(self) -> None:
        ref = SecretRef(SecretUsage.CEPH, uuid=cases.SECRET_UUID)
        for enabled in (True, 'true', 'True', 'yes', 1, '1'):
            for uuid in (cases.SECRET_UUID, cases.SECRET_UUID.upper()):
                disk = self.disk(auth_enabled=enabled, secret_uuid=uuid)
                self.assertEqual(Auth('cinder', ref), disk.source.auth)  # type: ignore[union-attr]
                self.assertEqual(((), ()), (disk.secrets, disk.notes))

    def test_off(self) -> None:
        for enabled in (False, 'false', 'False', 0, '', None, ABSENT):
            with self.subTest(enabled):
                disk = self.disk(auth_enabled=enabled, keyring=cases.CANARY)
                self.assertIsNone(disk.source.auth)  # type: ignore[union-attr]
                self.assertEqual((), disk.secrets)
                self.assertIn('auth_username, secret_uuid, keyring ignored', disk.notes[0])
        off = self.disk(auth_enabled=False, auth_username=None, secret_uuid=None)
        self.assertEqual((), off.notes)

    def test_neither_on_nor_off(self) -> None:
        for enabled in mixed('maybe', 2, -1, 1.0, [], {}):
            self.assertIn('data.auth_enabled', str(self.refused(auth_enabled=enabled)))

    def test_the_hosts_own_secret(self) -> None:
        conf = cases.options(rbd_secret_uuid=cases.SECRET_UUID, rbd_user='nova')
        for uuid in (None, '', ABSENT):
            source = self.source(conf=conf, secret_uuid=uuid, auth_username=None)
            ref = SecretRef(SecretUsage.CEPH, uuid=cases.SECRET_UUID)
            self.assertEqual(Auth('nova', ref), source.auth)

    def test_no_secret_at_all(self) -> None:
        error = self.refused(exception.SecretUnavailable, secret_uuid=None)
        self.assertIn('rbd_secret_uuid', error.hint)
        broken = cases.options(rbd_secret_uuid='x')
        self.refused(exception.SecretUnavailable, conf=broken, secret_uuid=None)

    def test_what_is_no_user_or_uuid(self) -> None:
        for user in (None, '', 'a b', 'a.b', 'a/b', 5, 'ü', 'a\n'):
            with self.subTest(user):
                self.assertIn('data.auth_username', str(self.refused(auth_username=user)))
        for uuid in ('x', 5, f'{{{cases.SECRET_UUID}}}', [cases.SECRET_UUID]):
            with self.subTest(uuid):
                self.assertIn('data.secret_uuid', str(self.refused(secret_uuid=uuid)))
        self.refused(secret_type='iscsi')


class TestKeyring(RbdTestCase):
    KEY = base64.b64encode(b'c4n4ry: sixteen!').decode()

    def keyring(self, text: object) -> tuple[bytes, tuple[str, ...]]:
        disk = self.disk(keyring=text)
        self.assertEqual(1, len(disk.secrets))
        spec = disk.secrets[0]
        auth = Auth('cinder', SecretRef(SecretUsage.CEPH, usage=spec.usage))
        self.assertEqual(auth, disk.source.auth)  # type: ignore[union-attr]
        return spec.value.reveal(), disk.notes

    def test_all_forms(self) -> None:
        for text in (
            f'[client.cinder]\n\tkey = {self.KEY}\n',
            f'[client.admin]\nkey = AAAA\n[client.cinder]\n  key={self.KEY}\n  caps mon = "x"\n',
            f'# made by hand\r\n[client.cinder]\r\nkey = "{self.KEY}" ; here\r\n',
            f'key = {self.KEY}',
            self.KEY,
            f'  {self.KEY}\n',
        ):
            with self.subTest(text[:12]):
                self.assertEqual((b'c4n4ry: sixteen!', ()), self.keyring(text))

    def test_the_only_key_will_do(self) -> None:
        """cinderlib hands out its own user's keyring with another name."""
        value, notes = self.keyring(f'[client.other]\nkey = {self.KEY}')
        self.assertEqual(b'c4n4ry: sixteen!', value)
        self.assertIn('client.cinder', notes[0])

    def test_an_empty_one_is_none(self) -> None:
        for text in (None, '', ' \n'):
            self.assertEqual((), self.disk(keyring=text).secrets)

    def test_the_usage_tells_nothing_of_the_key(self) -> None:
        one = self.disk(keyring=self.KEY).secrets[0].usage
        self.assertEqual(one, self.disk(keyring='AAAA').secrets[0].usage)
        self.assertNotEqual(one, self.disk(keyring='AAAA', name='a/b').secrets[0].usage)

    def test_without_a_key(self) -> None:
        for text in (
            f'[client.a]\nkey = {self.KEY}\n[client.b]\nkey = {self.KEY}',
            '[client.cinder]\ncaps mon = "c4n4ry"',
            '[client.cinder]\nkey = c4n4ry!',
            'c4n4ry c4n4ry',
            '[client.cinder]\nkey =',
            '[client.cinder]\nkey = c4n4r',
            'c4n4ry\0',
            'c4n4ry\ud800',
            ['c4n4ry'],
            5,
        ):
            with self.subTest(str(text)[:20]):
                self.assertIn('data.keyring', str(self.refused(keyring=text)))


class TestDescribe(RbdTestCase):
    def test_describe(self) -> None:
        described = RbdVolumeDriver().describe()
        self.assertEqual(('rbd', True), (described.protocol, described.thin))
