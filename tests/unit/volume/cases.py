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
"""What Cinder's drivers hand out, in the shapes that they use; addresses are of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from blockmirror_driver import conf as configuration
from blockmirror_driver import exception
from blockmirror_driver.model import Disk
from blockmirror_driver.volume.registry import disk_for
from tests.unit.xml.schema import SchemaTestCase

CANARY = 'c4n4ry+c4n4ry/c4n4ry='
SECRET_UUID = '7d0b8f5e-90c6-4a57-8c7e-7d7f6e5a1b20'
VOLUME_ID = 'c3b6b1e2-5f0d-4a3c-9a51-0b6f6c9c7d11'

RBD: dict[str, Any] = {
    'name': f'volumes/volume-{VOLUME_ID}',
    'hosts': ['192.0.2.11', '192.0.2.12'],
    'ports': ['6789', '6789'],
    'cluster_name': 'ceph',
    'auth_enabled': True,
    'auth_username': 'cinder',
    'secret_type': 'ceph',
    'secret_uuid': SECRET_UUID,
    'volume_id': VOLUME_ID,
    'discard': True,
    'qos_specs': None,
    'access_mode': 'rw',
    'encrypted': False,
    'cacheable': False,
}

ISCSI: dict[str, Any] = {
    'target_discovered': False,
    'target_portal': '192.0.2.21:3260',
    'target_iqn': f'iqn.2010-10.org.openstack:volume-{VOLUME_ID}',
    'target_lun': 1,
    'volume_id': VOLUME_ID,
    'auth_method': 'CHAP',
    'auth_username': 'someone',
    'auth_password': CANARY,
    'discard': False,
    'access_mode': 'rw',
    'encrypted': False,
}

NFS: dict[str, Any] = {
    'export': 'nas.example.org:/srv/cinder',
    'name': f'volume-{VOLUME_ID}',
    'options': None,
    'format': 'raw',
    'access_mode': 'rw',
    'encrypted': False,
}

NBD: dict[str, Any] = {'export': 'volume-1', 'host': '192.0.2.31', 'volume_id': VOLUME_ID}

#: What os-brick leaves of a volume that is connected; the kinds differ in nothing that counts.
CONNECTED: dict[str, Any] = {
    'volume_id': VOLUME_ID,
    'access_mode': 'rw',
    'encrypted': False,
    'discard': True,
}
DATA: dict[str, dict[str, Any]] = {
    'rbd': RBD,
    'iscsi': ISCSI,
    'nfs': NFS,
    'nbd': NBD,
    **dict.fromkeys(
        (
            'local', 'fibre_channel', 'iser', 'lightos', 'nvmeof', 'scaleio', 'storpool',
            'file', 'gpfs', 'quobyte', 'smbfs', 'vzstorage',
        ),
        CONNECTED,
    ),
}  # fmt: skip


class Absent:
    """Stands for a key that is left out."""


ABSENT = Absent()


def mixed(*values: Any) -> tuple[Any, ...]:
    """Return values of different types, to loop over."""
    return values


def changed(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data with other values, or without some keys."""
    merged = {**data, **changes}
    return {key: value for key, value in merged.items() if value is not ABSENT}


def options(**values: Any) -> cfg.ConfigOpts:
    """Return options of our own, which try no portals unless told to."""
    conf = cfg.ConfigOpts()
    configuration.register_opts(conf)
    conf([], project='blockmirror-test', default_config_files=[], default_config_dirs=[])
    for name, value in {'iscsi_portal_timeout': 0.0, **values}.items():
        conf.set_override(name, value, group=configuration.GROUP)
    return conf


class VolumeTestCase(SchemaTestCase):
    """Makes disks from one kind of data."""

    kind = ''

    def disk(
        self,
        top: Mapping[str, Any] | None = None,
        *,
        conf: cfg.ConfigOpts | None = None,
        target_dev: str = 'vda',
        **changes: Any,
    ) -> Disk:
        """Make a disk of both shapes; it is the same, valid, and without a secret's value."""
        data = changed(DATA[self.kind], changes)
        outside = {'driver_volume_type': self.kind, **(top or {})}
        chosen = options() if conf is None else conf
        disk = disk_for({**outside, 'data': data}, target_dev, conf=chosen)
        flat = disk_for({**data, **outside}, target_dev, conf=chosen)
        self.assertEqual(disk, flat)
        self.assertEqual(disk.notes, flat.notes)
        self.assertEqual(
            [(s.usage, s.value) for s in disk.secrets], [(s.usage, s.value) for s in flat.secrets]
        )
        text = disk.to_xml()
        self.assert_valid(text)
        self.assertNotIn('c4n4ry', f'{text}{disk!r}{disk.notes}')
        return disk

    def refused(
        self,
        error: type[exception.BlockmirrorError] = exception.InvalidConnectionInfo,
        *,
        conf: cfg.ConfigOpts | None = None,
        **changes: Any,
    ) -> exception.BlockmirrorError:
        """Expect an error of exactly this class, in one line, without a secret's value."""
        data = changed(DATA[self.kind], changes)
        info = {'driver_volume_type': self.kind, 'data': data}
        with self.assertRaises(exception.BlockmirrorError) as caught:
            disk_for(info, conf=options() if conf is None else conf)
        self.assertIs(error, type(caught.exception), caught.exception)
        shown = f'{caught.exception}{caught.exception.hint}{caught.exception!r}'
        self.assertNotIn('c4n4ry', shown)
        self.assertNotIn('\n', shown)
        return caught.exception
