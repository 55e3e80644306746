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
"""What a deployer makes with the APIs: identities, endpoints, images, flavors, types.

Run inside the lab with the services' virtualenv: ``python -m tests.cloud.catalog STEP``, with
``OS_*`` set. Every step may be repeated.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import openstack

from tests.cloud import site as places
from tests.cloud.site import HOST, Site
from tests.lab.image.build import INITRD, KERNEL
from tests.lab.layout import LabError, Layout

_USERS = ('nova', 'cinder', 'glance', 'placement')
_UP_S = 180.0
#: RAM in MiB; two serial ports, the second of which is the agent's.
FLAVORS = {'tiny': ('1', 160), 'tiny2': ('2', 192)}
IMAGES = ('tiny', 'tiny2')
_ROOT_BYTES = 4 << 20


def identity(cloud: Any, site: Site) -> None:
    """Make the services' users and endpoints, and a project without special rights."""
    api = cloud.identity
    project = api.find_project('service') or api.create_project(name='service')
    roles = {name: api.find_role(name) or api.create_role(name=name) for name in ('service',)}
    roles['admin'], roles['member'] = api.find_role('admin'), api.find_role('member')
    for name in _USERS:
        user = api.find_user(name) or api.create_user(name=name, password=site.password)
        for role in ('admin', 'service'):
            api.assign_project_role_to_user(project, user, roles[role])
    cinder = f'http://{HOST}:{places.CINDER}/v3/%(project_id)s'
    wanted = {
        'glance': ('image', f'http://{HOST}:{places.GLANCE}'),
        'placement': ('placement', f'http://{HOST}:{places.PLACEMENT}'),
        'neutron': ('network', f'http://{HOST}:{places.NEUTRON}'),
        'nova': ('compute', f'http://{HOST}:{places.NOVA}/v2.1'),
        'cinder': ('volumev3', cinder),
        'cinder-bs': ('block-storage', cinder),
    }
    known = {one.name for one in api.services()}
    for name, (kind, url) in wanted.items():
        if name in known:
            continue
        service = api.create_service(name=name, type=kind)
        for interface in ('public', 'internal'):
            api.create_endpoint(
                service_id=service.id, interface=interface, region_id=places.REGION, url=url
            )
    demo = api.find_project('demo') or api.create_project(name='demo')
    user = api.find_user('demo') or api.create_user(name='demo', password=site.password)
    api.assign_project_role_to_user(demo, user, roles['member'])


def wait(cloud: Any, _site: Site) -> None:
    """Wait until every service reports itself, and the scheduler knows the hypervisor.

    What a service said before ``CLOUD_SINCE`` (ISO, UTC) does not count for nova-compute: one
    that was restarted still counts as up for a minute.

    :raise LabError: not in time, with what is missing
    """
    since = os.environ.get('CLOUD_SINCE', '')
    services = {'nova-conductor', 'nova-scheduler', 'nova-compute'}
    backends = {f'{places.NODE}@{name}' for name in places.ENABLED} | {places.NODE}
    end = time.monotonic() + _UP_S
    while True:
        try:
            missing = services - {
                one.binary
                for one in cloud.compute.services()
                if one.state == 'up' and (one.updated_at or '') >= since
            }
            missing |= backends - {
                one.host for one in cloud.block_storage.services() if one.state == 'up'
            }
            missing |= set() if list(cloud.compute.hypervisors()) else {'a hypervisor'}
        except openstack.exceptions.SDKException as error:
            missing = {str(error)[:300]}
        if not missing:
            return
        if time.monotonic() >= end:
            raise LabError('cloud', f'not up: {", ".join(sorted(missing))}')
        time.sleep(0.5)


def data(cloud: Any, site: Site) -> None:
    """Make images, flavors and volume types."""
    guests = site.layout.guests
    kernel = _image(cloud, 'kernel', str(guests / KERNEL), 'aki', {})
    initrd = _image(cloud, 'initrd', str(guests / INITRD), 'ari', {})
    root = site.state / 'root.img'
    with root.open('wb') as out:
        out.truncate(_ROOT_BYTES)
    for name in IMAGES:
        properties = {
            'kernel_id': kernel,
            'ramdisk_id': initrd,
            'os_command_line': 'console=ttyS0 quiet panic=5',
            'hw_disk_bus': 'virtio',
            'hw_serial_port_count': '2',
        }
        _image(cloud, name, str(root), 'raw', properties)
    for name, (flavor, ram) in FLAVORS.items():
        if not cloud.compute.find_flavor(name):
            made = cloud.compute.create_flavor(name=name, id=flavor, ram=ram, vcpus=1, disk=1)
            cloud.compute.create_flavor_extra_specs(made, {'hw:serial_port_count': '2'})
    types = {name: {'volume_backend_name': name} for name in places.ENABLED}
    for name, protocol in places.UNPINNED.items():
        types[name] = {'storage_protocol': protocol} if protocol else {}
    for name, specs in types.items():
        if not cloud.block_storage.find_type(name):
            cloud.block_storage.create_type(name=name, extra_specs=specs)


def _image(cloud: Any, name: str, path: str, kind: str, properties: dict[str, str]) -> str:
    found = cloud.image.find_image(name)
    if found and found.status == 'active':
        return str(found.id)
    if found:
        cloud.image.delete_image(found)
    made = cloud.create_image(
        name,
        filename=path,
        disk_format=kind,
        container_format='bare' if kind == 'raw' else kind,
        visibility='public',
        wait=True,
        meta={},
        **properties,
    )
    return str(made.id)


STEPS: dict[str, Callable[[Any, Site], None]] = {'identity': identity, 'wait': wait, 'data': data}


if __name__ == '__main__':
    layout = Layout.of(os.environ['BLOCKMIRROR_LAB_NAME'])
    for step in sys.argv[1:]:
        STEPS[step](openstack.connect(), Site(layout))
