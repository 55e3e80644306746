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
"""Makes what the tests need in the cloud, and writes tempest.conf.

Run inside the lab with the services' virtualenv: ``python -m tests.tempest.settings OUT``, with
``OS_*`` set. It may be repeated.
"""

import os
import pathlib
import sys
from typing import Any

import openstack

from tests.cloud import catalog
from tests.cloud import site as places
from tests.cloud.environment import SERVICES
from tests.cloud.site import Site
from tests.lab.layout import Layout, write_private
from tests.lab.namespace import REPOSITORY
from tests.tempest import image

_FLAVORS = ('tiny', 'tiny2')
#: Name of the images before the digest of what the guest is made from.
_IMAGE = 'heartbeat'
Sections = dict[str, dict[str, Any]]


def _images(cloud: Any, site: Site) -> tuple[str, str]:
    """Ids of two images whose guest reports, made unless they are there."""
    initrd = site.state / 'heartbeat.gz'
    image.build(site.layout, initrd)
    digest = image.digest(site.layout)[:12]
    kernel = cloud.image.find_image('kernel').id
    ramdisk = catalog._image(cloud, f'{_IMAGE}-{digest}-initrd', str(initrd), 'ari', {})
    properties = {
        'kernel_id': kernel,
        'ramdisk_id': ramdisk,
        'os_command_line': 'console=ttyS0 quiet panic=5',
        'hw_disk_bus': 'virtio',
    }
    root = str(site.state / 'root.img')
    names = (f'{_IMAGE}-{digest}', f'{_IMAGE}-{digest}-alt')
    first, second = (catalog._image(cloud, name, root, 'raw', properties) for name in names)
    return first, second


def sections(cloud: Any, site: Site, work: pathlib.Path) -> Sections:
    """The configuration: a cloud without a network, where guests are watched by their consoles."""
    first, second = _images(cloud, site)
    flavor, other_flavor = (cloud.compute.find_flavor(name).id for name in _FLAVORS)
    command = f'blockmirror --journal {site.journal} --connect qemu:///system'
    # Tempest runs without the tree in its path.
    host = f'env PYTHONPATH={REPOSITORY} {SERVICES.python} -W ignore -m tests.tempest.host'
    patience = {'build_interval': 1, 'build_timeout': 180}
    return {
        'DEFAULT': {'log_file': work / 'tempest.log', 'debug': True, 'use_stderr': False},
        'oslo_concurrency': {'lock_path': work / 'locks'},
        'auth': {
            'use_dynamic_credentials': True,
            'create_isolated_networks': False,
            'admin_username': 'admin',
            'admin_password': site.password,
            'admin_project_name': 'admin',
            'admin_domain_name': 'Default',
            'default_credentials_domain_name': 'Default',
            'tempest_roles': 'member',
        },
        'identity': {'uri_v3': site.auth_url, 'auth_version': 'v3', 'region': places.REGION},
        'service_available': {
            # With false every class that asks for a network is skipped.
            'neutron': True,
            'swift': False,
            'horizon': False,
            **dict.fromkeys(('cinder', 'nova', 'glance'), True),
        },
        'enforce_scope': {'nova': True},
        'compute': {
            'image_ref': first,
            'image_ref_alt': second,
            'flavor_ref': flavor,
            'flavor_ref_alt': other_flavor,
            'min_compute_nodes': 1,
            'min_microversion': '2.1',
            'max_microversion': 'latest',
            'hypervisor_type': 'QEMU',
            **patience,
        },
        'compute-feature-enabled': {
            'swap_volume': True,
            'console_output': True,
            **dict.fromkeys(
                (
                    *('volume_multiattach', 'attach_encrypted_volume', 'vnc_console', 'resize'),
                    *('live_migration', 'cold_migration', 'shelve', 'suspend', 'personality'),
                    'config_drive',
                ),
                False,
            ),
        },
        'volume': {
            'backend_names': ','.join(places.BACKENDS),
            'catalog_type': 'volumev3',
            'storage_protocol': 'ceph',
            'volume_type': places.BACKENDS[0],
            'min_microversion': '3.0',
            'max_microversion': 'latest',
            'volume_size': 1,
            **patience,
        },
        'volume-feature-enabled': {
            'multi_backend': True,
            'snapshot': True,
            'extend_attached_volume': True,
            **dict.fromkeys(('backup', 'manage_volume', 'manage_snapshot'), False),
        },
        'validation': {'run_validation': False},
        'image': {'disk_formats': 'raw,qcow2'},
        'blockmirror': {
            'image_ref': first,
            'host_command': command,
            'thin_backends': ','.join((*places.RBD, *places.ISCSI)),
            **dict.fromkeys(('compute_command', 'backend_command'), host),
        },
    }


def main(out: pathlib.Path) -> None:
    """Write the file; it holds a password."""
    site = Site(Layout.of(os.environ['BLOCKMIRROR_LAB_NAME']))
    told = sections(openstack.connect(), site, out.parents[1])
    lines = []
    for name, options in told.items():
        lines.append(f'[{name}]')
        lines += [f'{option} = {value}' for option, value in options.items()]
    write_private(out, '\n'.join(lines) + '\n')


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]))
