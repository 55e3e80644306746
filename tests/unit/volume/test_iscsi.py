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
"""iSCSI units: portals in all notations, lists of paths, CHAP, odd target names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

from blockmirror_driver import exception
from blockmirror_driver.model import Auth, Host, IscsiSource, Seconds, SecretRef, SecretUsage
from blockmirror_driver.volume import portals
from blockmirror_driver.volume.connection_info import ConnectionInfo
from blockmirror_driver.volume.iscsi import IscsiVolumeDriver
from tests.unit.volume import cases
from tests.unit.volume.cases import ABSENT, mixed

A, B, C = (Host(f'192.0.2.{n}', 3260) for n in (1, 2, 3))
IQN = 'iqn.2030-01.org.example:'


class IscsiTestCase(cases.VolumeTestCase):
    kind = 'iscsi'

    def source(self, **changes: Any) -> IscsiSource:
        source = self.disk(**changes).source
        assert isinstance(source, IscsiSource)
        return source


class TestPortals(IscsiTestCase):
    def test_all_notations(self) -> None:
        for text, expected in (
            ('192.0.2.1:3261', Host('192.0.2.1', 3261)),
            ('192.0.2.1', Host('192.0.2.1', 3260)),
            ('array.example.org:3261', Host('array.example.org', 3261)),
            ('array-1', Host('array-1', 3260)),
            ('111.22.333.44:5555', Host('111.22.333.44', 5555)),
            ('[2001:db8::1]:3261', Host('2001:db8::1', 3261)),
            ('[fe80::72a4:a152:aad9:30d9]:2232', Host('fe80::72a4:a152:aad9:30d9', 2232)),
            ('[2001:db8::1]', Host('2001:db8::1', 3260)),
            ('2001:db8::1', Host('2001:db8::1', 3260)),
            ('2001:db8::1:3260', Host('2001:db8::1', 3260)),
            ('2001:db8:0:0:0:0:0:3260', Host('2001:db8:0:0:0:0:0:3260', 3260)),
            ('0:0:0:0:0:ffff:c0a8:19:3260', Host('0:0:0:0:0:ffff:c0a8:19', 3260)),
            ('2001:db8:0:1:2:3:4:5:860', Host('2001:db8:0:1:2:3:4:5', 860)),
            ('::ffff:192.0.2.1', Host('::ffff:192.0.2.1', 3260)),
        ):
            with self.subTest(text):
                self.assertEqual(expected, self.source(target_portal=text).portal)

    def test_what_is_no_portal(self) -> None:
        for text in (
            ABSENT, None, '', 5, ['192.0.2.1'], ':3260', '192.0.2.1:', '192.0.2.1:0',
            '192.0.2.1:65536', '192.0.2.1:x', '192.0.2.1:٣', 'a b:3260', 'a_b', 'http://a:3260',
            '[192.0.2.1]:3260', '[::1', '::1]', '[]', '[]:3260', '[::1]:', '[::1]x', '[::1]3260',
            '[fe80::1%eth0]:3260', 'fe80::1%eth0', '1:2:3', 'a:1:2', '192.0.2.1,1',
            '192.0.2.1:3260,1', '1:2:3:4:5:6:7:8:9:10', 'a\n', 'a\0', '\ud800', 'a/b',
            '-a:1',
        ):  # fmt: skip
            with self.subTest(text):
                self.assertIn('data.target_portal', str(self.refused(target_portal=text)))


class TestTargets(IscsiTestCase):
    def test_what_arrays_emit(self) -> None:
        for name in (
            'iqn.2010-10.org.openstack:volume-1',
            'iqn:1',
            'iqn.hbsd-test-target',
            'iqn.2000-01.com.example:Cinder-Target-UPPER_case',
            'iqn.2000-09.com.example:storage-system.dxl:0',
            'eui.02004567A425678D',
            'naa.52004567BA64678D',
            'iqn.2030-01.org.example:größe',
            'target~1+2',
        ):
            with self.subTest(name):
                self.assertEqual(name, self.source(target_iqn=name).target)

    def test_what_would_be_read_as_something_else(self) -> None:
        for name in (
            ABSENT, None, '', 5, 'iqn/1', 'iqn?lun=2', 'iqn@x', 'iqn%2f1', 'a b', ' iqn', 'iqn\n',
            'iqn\0', '\ud800', 'iqn&x', 'iqn,x=y', 'iqn;x', "iqn'x", 'iqn\\x', 'x' * 224, ['iqn'],
        ):  # fmt: skip
            with self.subTest(name):
                self.assertIn('data.target_iqn', str(self.refused(target_iqn=name)))

    def test_luns(self) -> None:
        for lun, expected in (
            (0, 0), (1, 1), ('1', 1), (' 12 ', 12), ('007', 7), (333, 333), (16383, 16383),
            (ABSENT, 0), (None, 0), ('', 0),
        ):  # fmt: skip
            with self.subTest(lun):
                self.assertEqual(expected, self.source(target_lun=lun).lun)

    def test_what_is_no_lun(self) -> None:
        for lun in mixed(-1, '-1', 16384, 10**5000, '9' * 5000, 'x', '0x1', 1.0, True, [1], '٣'):
            with self.subTest(type(lun)):
                self.assertIn('data.target_lun', str(self.refused(target_lun=lun)))


class TestPaths(IscsiTestCase):
    LISTS: dict[str, Any] = {  # noqa: RUF012
        'target_portals': ['192.0.2.1:3260', '192.0.2.2:3260', '192.0.2.3:3260'],
        'target_iqns': [f'{IQN}a', f'{IQN}b', f'{IQN}a'],
        'target_luns': [1, '2', 3],
    }

    def choose(self, answer: Host | None, **changes: Any) -> tuple[IscsiSource, tuple[str, ...]]:
        """Make the disk where only one portal answers."""
        asked: list[tuple[list[Host], float]] = []

        def answering(hosts: Sequence[Host], timeout: Seconds) -> Host | None:
            asked.append((list(hosts), timeout))
            return answer

        driver = IscsiVolumeDriver()
        data = cases.changed(cases.ISCSI, {**self.LISTS, **changes})
        info = ConnectionInfo({'driver_volume_type': 'iscsi', 'data': data})
        disk = portals.choose(driver.disk(info, 'vda', cases.options()), Seconds(2.0), answering)
        self.asked = asked
        assert isinstance(disk.source, IscsiSource)
        return disk.source, tuple(n for n in disk.notes if 'portal' in n)

    def test_the_first_that_answers(self) -> None:
        source, notes = self.choose(B)
        self.assertEqual((B, f'{IQN}b', 2), (source.portal, source.target, source.lun))
        self.assertEqual(((A, f'{IQN}a', 1), (C, f'{IQN}a', 3)), source.alternates)
        self.assertEqual(
            ('iscsi: portal 192.0.2.2:3260 of 3 taken, the first of the list that answered',),
            notes,
        )
        self.assertEqual([([A, B, C], 2.0)], self.asked)

    def test_when_none_answers_the_first(self) -> None:
        source, notes = self.choose(None)
        self.assertEqual((A, f'{IQN}a', 1), (source.portal, source.target, source.lun))
        self.assertIn('none answered', notes[0])

    def test_nobody_is_asked_for_one_portal(self) -> None:
        """Two targets behind one portal are no choice of portals."""
        portals = ['192.0.2.1:3260'] * 2
        iqns = [f'{IQN}a', f'{IQN}b']
        source, notes = self.choose(
            None, target_portals=portals, target_iqns=iqns, target_luns=[1, 1]
        )
        self.assertEqual((A, f'{IQN}a'), (source.portal, source.target))
        self.assertEqual(((A, f'{IQN}b', 1),), source.alternates)
        self.assertEqual(((), []), (notes, self.asked))

    def test_nobody_is_asked_without_time(self) -> None:
        def nobody(hosts: Sequence[Host], timeout: Seconds) -> Host | None:
            raise AssertionError(f'{hosts} were asked within {timeout}')

        disk = self.disk(**self.LISTS)
        self.assertEqual(disk, portals.choose(disk, Seconds(0.0), nobody))
        self.assertEqual((), tuple(note for note in disk.notes if 'portal' in note))

    def test_a_driver_opens_no_socket(self) -> None:
        """What a disk says does not depend on where it is asked, nor on who listens there."""
        with mock.patch('socket.socket.connect', side_effect=AssertionError('asked')):
            source, _ = self.choose(None)
            self.assertEqual(A, self.source(**self.LISTS).portal)
        self.assertEqual(A, source.portal)

    def test_a_path_counts_once(self) -> None:
        source, _ = self.choose(
            B,
            target_portals=['192.0.2.1', '192.0.2.2', '192.0.2.1:3260', '192.0.2.2'],
            target_iqns=['x', 'y', 'x', 'x'],
            target_luns=[1] * 4,
        )
        self.assertEqual(((A, 'x', 1), (B, 'x', 1)), source.alternates)

    def test_only_lists(self) -> None:
        source = self.source(
            target_portal=ABSENT,
            target_iqn=ABSENT,
            target_lun=ABSENT,
            target_portals=['192.0.2.3'],
            target_iqns=['iqn:1'],
            target_luns=[0],
        )
        self.assertEqual((C, 'iqn:1', 0), (source.portal, source.target, source.lun))

    def test_lists_that_are_missing(self) -> None:
        source = self.source(target_portals=['192.0.2.3', '192.0.2.1'], target_lun=4)
        self.assertEqual(
            (C, cases.ISCSI['target_iqn'], 4), (source.portal, source.target, source.lun)
        )
        self.assertEqual(((A, source.target, 4),), source.alternates)
        empty = self.source(target_portals=[], target_iqns=[], target_luns=[])
        self.assertEqual('192.0.2.21', empty.portal.name)

    def test_lists_that_do_not_fit(self) -> None:
        for changes in (
            {'target_iqns': ['a']},
            {'target_luns': [1]},
            {'target_iqns': [*self.LISTS['target_iqns'], 'x']},
            {'target_portals': '192.0.2.1:3260'},
            {'target_iqns': 'a'},
            {'target_luns': 1},
            {'target_portals': ['192.0.2.1', None, '192.0.2.3']},
            {'target_iqns': ['a', '', 'a']},
            {'target_luns': [1, 'x', 1]},
            {'target_portals': ABSENT, 'target_portal': ABSENT},
        ):
            with self.subTest(changes):
                self.refused(**{**self.LISTS, **changes})


class TestChap(IscsiTestCase):
    def test_with_chap(self) -> None:
        for method in ('CHAP', 'chap', 'Chap', ' CHAP '):
            disk = self.disk(auth_method=method)
            (spec,) = disk.secrets
            self.assertEqual(
                (SecretUsage.ISCSI, cases.CANARY.encode()), (spec.type, spec.value.reveal())
            )
            auth = Auth('someone', SecretRef(SecretUsage.ISCSI, usage=spec.usage))
            self.assertEqual(auth, disk.source.auth)  # type: ignore[union-attr]

    def test_any_password(self) -> None:
        for password in (' c4n4ry ', 'c4n4ry\n', 'c4n4ry&<>"\'', 'c4n4ry-ü€', 'x' * 255):
            (spec,) = self.disk(auth_password=password).secrets
            self.assertEqual(password.encode(), spec.value.reveal())

    def test_without(self) -> None:
        for method in (ABSENT, None, '', 'None', 'none'):
            with self.subTest(method):
                disk = self.disk(auth_method=method)
                self.assertIsNone(disk.source.auth)  # type: ignore[union-attr]
                self.assertEqual((), disk.secrets)
                self.assertIn('auth_username ignored', ' '.join(disk.notes))

    def test_discovery_is_not_the_session(self) -> None:
        disk = self.disk(
            auth_method=ABSENT,
            auth_username=ABSENT,
            auth_password=ABSENT,
            discovery_auth_method='CHAP',
            discovery_auth_username='someone',
            discovery_auth_password=cases.CANARY,
        )
        self.assertIsNone(disk.source.auth)  # type: ignore[union-attr]
        self.assertEqual((), disk.secrets)

    def test_refused(self) -> None:
        for changes in (
            {'auth_username': None},
            {'auth_username': ''},
            {'auth_username': 'a b'},
            {'auth_username': 'x' * 256},
            {'auth_username': 5},
            {'auth_password': None},
            {'auth_password': ''},
            {'auth_password': ABSENT},
            {'auth_password': 5},
            {'auth_password': [cases.CANARY]},
            {'auth_password': {cases.CANARY: cases.CANARY}},
            {'auth_password': f'{cases.CANARY}\0'},
            {'auth_password': f'{cases.CANARY}\ud800'},
            {'auth_password': cases.CANARY * 20},
            {'auth_method': 5},
        ):
            with self.subTest(changes):
                self.refused(**changes)
        self.refused(exception.UnsupportedVolume, auth_method='KRB5')


class TestInitiator(IscsiTestCase):
    def test_from_the_option(self) -> None:
        conf = cases.options(iscsi_initiator_name=f'{IQN}host')
        self.assertEqual(f'{IQN}host', self.source(conf=conf).initiator)

    def test_from_the_host(self) -> None:
        name = 'blockmirror_driver.volume.initiator.name'
        with mock.patch(name, return_value=(f'{IQN}h', '')):
            disk = self.disk()
        self.assertIn(f'<iqn name="{IQN}h"/>', disk.to_xml())
        self.assertEqual((), disk.notes)
