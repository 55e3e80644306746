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
"""Where everything of a cloud is: paths, ports, names, passwords.

A cloud is a lab with more in it. It lives in the lab's namespaces, so that every service has
its usual port on the loopback address, and below the lab's root directory.
"""

import dataclasses
import json
import os
import pathlib
import secrets
import uuid
from collections.abc import Mapping
from typing import Self

from tests.cloud.environment import SERVICES
from tests.lab.layout import Layout, write_private
from tests.lab.namespace import REPOSITORY

HOST = '127.0.0.1'
#: Nova's and Cinder's name of this machine.
NODE = 'cloud'
#: A second host for servers, which only tests of live migration start.
NODE2, HOST2 = 'cloud2', '127.0.0.2'
REGION = 'RegionOne'
#: The services' usual ports.
MARIADB, RABBIT, RABBIT_DIST, EPMD, MEMCACHED = 3306, 5672, 25672, 4369, 11211
KEYSTONE, GLANCE, PLACEMENT, NOVA, CINDER, NEUTRON = 5000, 9292, 8778, 8774, 8776, 9696
#: Cinder's backends in the order of ``enabled_backends``; each has a volume type of its name.
#: ``BACKENDS`` are those that a guest reaches over the network.
RBD = {'rbd1': ('volumes', 'cloud1'), 'rbd2': ('volumes2', 'cloud2')}
NFS = ('nfs1', 'nfs2')
ISCSI = ('iscsi1',)
BACKENDS = (*RBD, *NFS, *ISCSI)
#: Backends whose volumes are devices of the host.
LOOP = ('loop1', 'loop2')
ENABLED = (*BACKENDS, *LOOP)
#: Volume types that no backend is pinned to: one may migrate a volume of theirs anywhere.
UNPINNED = {'any': None, 'rbdany': 'ceph'}
#: Directories of modules that services load by the names in their configuration.
_BROUGHT = ('tests/cloud/backends', 'tests/lab/keys')
STOCK_DRIVER, OUR_DRIVER = 'libvirt.LibvirtDriver', 'blockmirror.LibvirtDriver'


@dataclasses.dataclass(frozen=True)
class Secrets:
    """What was drawn for one cloud when it was first brought up; secret, all but the uuids.

    :ivar ceph: libvirt's secret of each cephx user
    """

    password: str
    ceph: Mapping[str, str]

    @classmethod
    def of(cls, path: pathlib.Path) -> Self:
        """Read what is kept in `path`, or draw it."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            users = (user for _pool, user in RBD.values())
            drawn = cls(secrets.token_hex(12), {user: str(uuid.uuid4()) for user in users})
            write_private(path, json.dumps(dataclasses.asdict(drawn)))
            return drawn


class Site:
    """One cloud's places. Paths only, but for the directories that :meth:`make` makes."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.root = layout.root / 'cloud'
        self.etc = self.root / 'etc'
        self.state = self.root / 'state'
        self.bin = self.root / 'bin'
        self.marks = self.root / 'done'
        self.journal = self.root / 'blockmirror' / 'journal.sqlite'
        self.journal2 = self.root / 'blockmirror2' / 'journal.sqlite'
        #: Libvirt's socket of each host by the host's address.
        self.sockets = self.root / 'hosts'
        #: What ``driver`` chose; read when nova-compute's configuration is written.
        self.choice = self.root / 'driver.json'

    def make(self) -> None:
        """Make the directories. Safe to call again."""
        self.root.mkdir(mode=0o711, exist_ok=True)
        for path in (self.etc, self.state, self.bin, self.marks, self.sockets):
            path.mkdir(exist_ok=True)

    @property
    def secrets(self) -> Secrets:
        """The passwords, drawn at the first call."""
        return Secrets.of(self.root / 'secrets.json')

    @property
    def password(self) -> str:
        """The one password of all services."""
        return self.secrets.password

    @property
    def shares(self) -> dict[str, str]:
        """``host:/path`` of each nfs backend: directories below the lab's export."""
        return {name: f'{HOST}:{self.share_path(name)}' for name in NFS}

    def share_path(self, name: str) -> pathlib.Path:
        """Directory of an nfs backend; the same path on server and client."""
        return self.layout.volumes / 'nfs' / name

    @property
    def iscsi_files(self) -> pathlib.Path:
        """Directory of the files behind iscsi volumes."""
        return self.state / 'cinder' / 'files'

    def loop_files(self, name: str) -> pathlib.Path:
        """Directory of the files behind a backend's loop devices."""
        return self.state / 'cinder' / name

    @property
    def targets(self) -> pathlib.Path:
        """Directory where Cinder keeps tgt's targets."""
        return self.state / 'cinder' / 'targets'

    @property
    def console_logs(self) -> pathlib.Path:
        """Nova's directory of instances."""
        return self.state / 'nova' / 'instances'

    def log(self, service: str) -> pathlib.Path:
        """A service's log file."""
        return self.layout.logs / f'{service}.log'

    @property
    def auth_url(self) -> str:
        """Keystone."""
        return f'http://{HOST}:{KEYSTONE}/v3'

    @property
    def path(self) -> str:
        """``PATH`` of the services: the stand-in for mount first, then the virtualenv's."""
        return f'{self.bin}:{SERVICES.bin}:{os.environ["PATH"]}'

    @property
    def environment(self) -> list[str]:
        """What every service is started with: its tools, and what the tests bring for it."""
        brought = ':'.join(str(REPOSITORY / path) for path in _BROUGHT)
        return [f'PATH={self.path}', f'PYTHONPATH={brought}']

    @property
    def keys(self) -> pathlib.Path:
        """Directory of the keys of encrypted volumes."""
        return self.root / 'keys'

    @property
    def credentials(self) -> dict[str, str]:
        """``OS_*`` of the administrator, as openstacksdk and the clients read them."""
        return {
            'OS_AUTH_URL': self.auth_url,
            'OS_USERNAME': 'admin',
            'OS_PASSWORD': self.password,
            'OS_PROJECT_NAME': 'admin',
            'OS_USER_DOMAIN_NAME': 'Default',
            'OS_PROJECT_DOMAIN_NAME': 'Default',
            'OS_REGION_NAME': REGION,
            'OS_IDENTITY_API_VERSION': '3',
        }
