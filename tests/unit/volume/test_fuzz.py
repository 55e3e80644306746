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
"""Whatever stands in a connection_info: a disk that is valid and round-trips, or our error."""

from __future__ import annotations

import traceback
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.volume.registry import disk_for
from blockmirror_driver.xml import disk as xml_disk
from tests.unit import INPUTS
from tests.unit.volume import cases
from tests.unit.xml.schema import SchemaTestCase

TEXT = st.text() | st.characters().map(str) | st.from_regex(r'[\w.:/@\[\]=,\\ -]{0,20}')
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.builds(lambda: 10**5000),
    st.floats(),
    TEXT,
    st.binary(max_size=5),
    st.ip_addresses().map(str),
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT, v, max_size=4), max_leaves=8
)
KEYS = sorted(
    {key for data in cases.DATA.values() for key in data}
    | {'target_portals', 'target_iqns', 'target_luns', 'keyring', 'serial', 'multiattach'}
    | {'physical_block_size', 'logical_block_size', 'detect_zeroes', 'mount_point_base'}
)
NESTED = ('hosts', 'ports', 'target_portals', 'target_iqns', 'target_luns')
SECRETS = ('auth_password', 'keyring')


def _changes() -> st.SearchStrategy[dict[str, Any]]:
    single = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)
    lists = st.dictionaries(st.sampled_from(NESTED), st.lists(SCALARS, max_size=3), max_size=3)
    specs = st.dictionaries(TEXT | st.sampled_from(['total_iops_sec', 'read_bytes_sec']), VALUES)
    return st.one_of(single, lists, specs.map(lambda s: {'qos_specs': s}))


class TestWhateverThereIs(SchemaTestCase):
    conf = cases.options(rbd_secret_uuid=cases.SECRET_UUID)

    def check(self, info: Any, target_dev: Any = 'vda') -> None:
        try:
            disk = disk_for(info, target_dev, conf=self.conf)
        except exception.BlockmirrorError as error:
            self.assertTrue(str(error).isprintable(), repr(error))
            self.assertLess(len(str(error)), 300)
            self.assertIn(error.exit_code, (2, 3))
            return
        text = disk.to_xml()
        self.assert_valid(text)
        self.assertEqual(disk, xml_disk.parse(text))
        for note in disk.notes:
            self.assertTrue(note.isprintable(), repr(note))

    @settings(deadline=None, max_examples=max(300, INPUTS))
    @given(st.sampled_from(sorted(cases.DATA)), _changes(), st.booleans())
    def test_some_fields(self, kind: str, changes: dict[str, Any], nested: bool) -> None:
        data = {**cases.DATA[kind], **changes}
        top = {'driver_volume_type': kind}
        self.check({**top, 'data': data} if nested else {**data, **top})

    @settings(deadline=None)
    @given(VALUES, VALUES)
    def test_anything(self, info: Any, target_dev: Any) -> None:
        self.check(info)
        self.check({'driver_volume_type': 'nfs', 'data': cases.NFS}, target_dev)

    @settings(deadline=None)
    @given(st.sampled_from(sorted(cases.DATA)), VALUES, VALUES)
    def test_any_type_and_data(self, kind: str, data: Any, other: Any) -> None:
        self.check({'driver_volume_type': kind, 'data': data})
        self.check({'driver_volume_type': other, 'data': data})

    def test_deep_nesting(self) -> None:
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        for key in KEYS:
            for kind, data in cases.DATA.items():
                info = {'driver_volume_type': kind, 'data': {**data, key: deep}}
                try:
                    disk_for(info, conf=self.conf)
                except exception.BlockmirrorError as error:
                    self.assertLess(len(str(error)), 300)


class TestSecrets(SchemaTestCase):
    """Secrets of any look and in any wrong place of theirs are in no text of an error (P7)."""

    conf = cases.options(rbd_secret_uuid=cases.SECRET_UUID)

    @settings(deadline=None)
    @given(
        st.sampled_from(('rbd', 'iscsi')),
        st.sampled_from(SECRETS),
        st.sampled_from(('{0}', '{0}\n', '[{0}]', '{0}\0', '[client.cinder]\nkey = {0}', '{0}=')),
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2),
        st.booleans(),
    )
    def test_no_error_tells(
        self, kind: str, key: str, shape: str, changes: dict[str, Any], listed: bool
    ) -> None:
        secret = shape.format('c4n4ryc4n4ry')
        others = {k: v for k, v in changes.items() if k not in SECRETS}
        data = {**cases.DATA[kind], **others, key: [secret] if listed else secret}
        try:
            disk = disk_for({'driver_volume_type': kind, 'data': data}, conf=self.conf)
        except exception.BlockmirrorError as error:
            shown = f'{error!r}{error.hint}' + ''.join(traceback.format_exception(error))
        else:
            shown = f'{disk!r}{disk.notes}{disk.secrets}{disk.to_xml()}'
        self.assertNotIn('c4n4ry', shown)

    def test_nothing_is_logged(self) -> None:
        info = {'driver_volume_type': 'iscsi', 'data': cases.ISCSI}
        with mock.patch('logging.Logger.handle') as handle:
            disk_for(info, conf=self.conf)
        handle.assert_not_called()
