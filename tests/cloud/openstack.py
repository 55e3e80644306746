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
"""The OpenStack services, and what has to be done once before they start."""

import concurrent.futures
import subprocess
from collections.abc import Callable, Mapping, Sequence

from tests.cloud import site as places
from tests.cloud.environment import SERVICES
from tests.cloud.site import HOST, Site
from tests.lab.layout import LabError
from tests.lab.namespace import REPOSITORY
from tests.lab.process import Daemon
from tests.lab.sockets import answers

#: Each request closes its connection: clients else write to one that uWSGI has just closed.
_UWSGI = (
    *('uwsgi', '--master', '--die-on-term', '--lazy-apps', '--enable-threads', '--need-app'),
    *('--thunder-lock', '--disable-logging', '--log-5xx', '--buffer-size', '65535'),
    *('--socket-timeout', '120', '--listen', '100', '--worker-reload-mercy', '3'),
    *('--processes', '1', '--add-header', 'Connection:close'),
)
_SYNC_S = 600.0


class OpenStack:
    """Its methods are called inside the lab."""

    def __init__(self, site: Site) -> None:
        self._site = site
        etc = site.etc
        cinder = ['--pyargv', f'--config-file {etc}/cinder/cinder.conf']
        nova = ['--config-file', f'{etc}/nova/nova.conf']
        self.daemons: dict[str, Daemon] = {}
        self._api('keystone', places.KEYSTONE, 'keystone.wsgi.api', f'{etc}/keystone')
        self._api('placement', places.PLACEMENT, 'placement.wsgi.api', f'{etc}/placement')
        self._api(
            'glance', places.GLANCE, 'glance.wsgi.api', f'{etc}/glance', '--http-chunked-input'
        )
        self._api('nova', places.NOVA, 'nova.wsgi.osapi_compute', f'{etc}/nova')
        self._api('cinder', places.CINDER, 'cinder.wsgi.api', f'{etc}/cinder', *cinder)
        stub = [str(SERVICES.python), str(REPOSITORY / 'tests/cloud/network_stub.py')]
        self._add('network-stub', [*stub, str(places.NEUTRON)], port=places.NEUTRON)
        for name in ('conductor', 'scheduler'):
            self._add(f'nova-{name}', [f'nova-{name}', *nova])
        self._add('nova-compute', ['nova-compute', *self._compute])
        for name in ('scheduler', 'volume'):
            conf = ['--config-file', f'{etc}/cinder/cinder.conf']
            self._add(f'cinder-{name}', [f'cinder-{name}', *conf])

    def _api(self, name: str, port: int, module: str, etc: str, *words: str) -> None:
        argv = [*_UWSGI, '--http-socket', f'{HOST}:{port}', '--module', f'{module}:application']
        variable = f'OS_{name.upper()}_CONFIG_DIR={etc}'
        self._add(f'{name}-api', [*argv, '--threads', '4', *words], port=port, given=[variable])

    def _add(
        self, name: str, argv: Sequence[str], *, port: int = 0, given: Sequence[str] = ()
    ) -> None:
        self.daemons[name] = self._daemon(
            name, [*given, *argv], (lambda: answers(HOST, port)) if port else (lambda: True)
        )

    def _daemon(self, name: str, argv: Sequence[str], ready: Callable[[], bool]) -> Daemon:
        environment = [*self._site.environment, 'PYTHONWARNINGS=ignore']
        return Daemon(self._site.layout, name, [*environment, *argv], ready, timeout_s=180)

    @property
    def _compute(self) -> list[str]:
        return ['--config-file', f'{self._site.etc}/nova/nova-compute.conf']

    def doomed(self, where: str) -> Daemon:
        """nova-compute that kills itself there, in the place of the other.

        :param where: see :mod:`tests.cloud.doomed`
        """
        # Without -P the modules beside it would hide others of the same names.
        script = [str(SERVICES.python), '-P', str(REPOSITORY / 'tests/cloud/doomed.py')]
        return self._daemon('nova-compute', [*script, where, *self._compute], lambda: True)

    def prepare(self) -> None:
        """Make every schema, Keystone's keys and administrator, and Nova's cells; once.

        Two jobs run at a time, on two cores.

        :raise LabError: a command failed, with the end of what it printed
        """
        etc = self._site.etc
        keystone = ['keystone-manage', '--config-file', f'{etc}/keystone/keystone.conf']
        nova = ['nova-manage', '--config-file', f'{etc}/nova/nova.conf']
        owner = ['--keystone-user', 'root', '--keystone-group', 'root']
        urls = [
            word
            for kind in ('public', 'internal', 'admin')
            for word in (f'--bootstrap-{kind}-url', self._site.auth_url)
        ]
        cell0 = (
            f'mysql+pymysql://os:{self._site.password}@{HOST}:{places.MARIADB}'
            '/nova_cell0?charset=utf8'
        )
        first = {
            'keystone-db': [*keystone, 'db_sync'],
            'keystone-fernet': [*keystone, 'fernet_setup', *owner],
            'keystone-credential': [*keystone, 'credential_setup', *owner],
            'keystone-bootstrap': [
                *keystone,
                'bootstrap',
                '--bootstrap-region-id',
                places.REGION,
                *urls,
            ],
            'placement-db': [
                f'OS_PLACEMENT_CONFIG_DIR={etc}/placement',
                'placement-manage',
                '--config-file',
                f'{etc}/placement/placement.conf',
                'db',
                'sync',
            ],
            'cinder-db': [
                'cinder-manage',
                '--config-file',
                f'{etc}/cinder/cinder.conf',
                'db',
                'sync',
            ],
        }
        second = {
            'nova-api-db': [*nova, 'api_db', 'sync'],
            'nova-cell0': [*nova, 'cell_v2', 'map_cell0', '--database_connection', cell0],
            'nova-db': [*nova, 'db', 'sync'],
            'nova-cell1': [*nova, 'cell_v2', 'create_cell', '--name', 'cell1'],
            'glance-db': [
                'glance-manage',
                '--config-file',
                f'{etc}/glance/glance-api.conf',
                'db_sync',
            ],
        }
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self._all_once, jobs) for jobs in (first, second)]:
                done.result()

    def _all_once(self, jobs: Mapping[str, Sequence[str]]) -> None:
        for name, argv in jobs.items():
            self._once(name, argv)

    def _once(self, name: str, argv: Sequence[str]) -> None:
        mark = self._site.marks / name
        if mark.exists():
            return
        given = [f'PATH={self._site.path}', 'PYTHONWARNINGS=ignore']
        # Only Keystone's bootstrap reads it; in its command line everybody could.
        given += [f'OS_BOOTSTRAP_PASSWORD={self._site.password}'] if 'bootstrap' in name else []
        log = self._site.log(f'setup-{name}')
        with log.open('wb') as out:
            done = subprocess.run(
                ['env', *given, *argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=_SYNC_S,
                check=False,
            )
        if done.returncode:
            raise LabError('cloud', f'{name} failed: {log.read_text()[-1500:]}')
        mark.touch()

    def start(self, *names: str) -> None:
        """Start these services, or all, side by side.

        :raise LabError: one ended, or does not listen in time
        """
        chosen = [self.daemons[name] for name in names or self.daemons]
        for daemon in chosen:
            if not daemon.alive():
                daemon.launch()
        for daemon in chosen:
            daemon.wait_ready()
