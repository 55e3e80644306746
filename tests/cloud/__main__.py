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
"""Bring a small OpenStack up, down, or use it; see ``--help``."""

import argparse
import datetime as dt
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from tests.cloud import config, environment, storage
from tests.cloud import site as places
from tests.cloud.environment import SERVICES, TEMPEST
from tests.cloud.infrastructure import Infrastructure
from tests.cloud.openstack import OpenStack
from tests.cloud.site import Site
from tests.lab.lab import Lab
from tests.lab.layout import LabError, Layout
from tests.lab.namespace import REPOSITORY, Namespace
from tests.lab.process import run

DEFAULT_NAME = 'cloud'
_DRIVERS = {'stock': places.STOCK_DRIVER, 'ours': places.OUR_DRIVER}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is 0, 1 for a cloud that failed, or that of the command run."""
    options = _parser().parse_args(arguments)
    try:
        if options.action == 'venv':
            SERVICES.make()
            TEMPEST.make()
            environment.install(SERVICES, force=False)
            return 0
        if options.action == 'install':
            environment.install(SERVICES)
            return 0
        return _Cloud(options).act()
    except LabError as exc:
        print(f'cloud: {exc}', file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m tests.cloud', description=__doc__)
    given = os.environ.get('BLOCKMIRROR_LAB_NAME', DEFAULT_NAME)
    parser.add_argument('--name', default=given, help='name of the cloud (%(default)s)')
    actions = parser.add_subparsers(dest='action', required=True)
    actions.add_parser('venv', help='make the virtualenvs')
    actions.add_parser('install', help='install the project as it is now into the services')
    actions.add_parser('up', help='start what does not run yet')
    actions.add_parser('down', help='stop everything and remove it')
    actions.add_parser('status', help='a line for each service; exit code 0 if all are up')
    driver = actions.add_parser('driver', help='load another compute driver')
    driver.add_argument('driver', choices=_DRIVERS)
    driver.add_argument('--native', default='rbd,iscsi,nfs', help='native_protocols')
    driver.add_argument('--set', action='append', default=[], metavar='OPTION=VALUE')
    driver.add_argument('--cinder', default='', help="Cinder's endpoint, not the catalog's")
    tokens = actions.add_parser('tokens', help='let tokens live as long as is said')
    tokens.add_argument('seconds', type=int)
    restart = actions.add_parser('restart', help='end services in order and start them again')
    restart.add_argument('services', nargs='+')
    restart.add_argument('--doom', help='where nova-compute kills itself; see tests.cloud.doomed')
    inside = actions.add_parser('run', help='run a command inside, with OS_* set')
    inside.add_argument('command', nargs=argparse.REMAINDER, help='-- COMMAND [ARGUMENT...]')
    return parser


class _Cloud:
    """One command on one cloud."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._layout = Layout.of(options.name)
        self._namespace = Namespace(self._layout)
        self._site = Site(self._layout)
        self._begun = time.monotonic()

    def act(self) -> int:
        """Do what the command line says, inside the lab where it has to be."""
        action = self._options.action
        outside: dict[str, Callable[[], int]] = {'down': self._down, 'run': self._run}
        if not self._namespace.inside():
            outside['up'] = self._up_outside
        inside: dict[str, Callable[[], int]] = {
            'up': self._up,
            'status': self._status,
            'driver': self._driver,
            'tokens': self._tokens,
            'restart': self._restart,
        }
        if action in outside:
            return outside[action]()
        if self._namespace.inside():
            return inside[action]()
        if self._namespace.holder is None:
            print('cloud: down')
            return 1
        return self._inside(sys.argv[1:])

    def _down(self) -> int:
        status = self._lab('down')
        for device in storage.devices(self._site):
            run(['losetup', '--detach', device])
        return status

    def _up_outside(self) -> int:
        SERVICES.make()
        environment.install(SERVICES, force=False)
        self._say('virtualenv')
        return self._lab('up') or self._inside(sys.argv[1:])

    def _lab(self, action: str) -> int:
        argv = [sys.executable, '-m', 'tests.lab', '--name', self._layout.name, action]
        return subprocess.run(argv, cwd=REPOSITORY, check=False).returncode

    def _inside(self, words: Sequence[str]) -> int:
        argv = [sys.executable, '-m', 'tests.lab', '--name', self._layout.name, 'run', '--']
        argv += [sys.executable, '-m', 'tests.cloud', *words]
        return subprocess.run(argv, cwd=REPOSITORY, check=False).returncode

    def _say(self, what: str) -> None:
        print(f'cloud: {what} after {time.monotonic() - self._begun:.0f} s', flush=True)

    def _up(self) -> int:
        site = self._site
        site.make()
        for name in ('nova', 'cinder', 'glance', 'lock', 'coordination'):
            (site.state / name).mkdir(exist_ok=True)
        for name in ('glance/images', 'glance/staging', 'glance/tasks', 'nova/instances'):
            (site.state / name).mkdir(parents=True, exist_ok=True)
        site.journal.parent.mkdir(mode=0o700, exist_ok=True)
        config.write_all(site)
        Infrastructure(site, Lab(self._layout)).up()
        self._say('infrastructure is up')
        openstack = OpenStack(site)
        openstack.prepare()
        self._say('databases are made')
        openstack.start('keystone-api')
        self._catalog('identity')
        openstack.start()
        self._say('services are started')
        self._catalog('wait', 'data')
        self._say('up')
        return 0

    def _catalog(self, *steps: str, since: str = '') -> None:
        argv = [str(SERVICES.python), '-W', 'ignore', '-m', 'tests.cloud.catalog', *steps]
        done = subprocess.run(
            argv, cwd=REPOSITORY, env=self._environment() | {'CLOUD_SINCE': since}, check=False
        )
        if done.returncode:
            raise LabError('cloud', f'{" ".join(steps)} failed')

    def _environment(self) -> dict[str, str]:
        given = {'PATH': self._site.path, 'BLOCKMIRROR_LAB_NAME': self._layout.name}
        return {**os.environ, **self._site.credentials, **given}

    def _daemons(self) -> dict[str, bool]:
        infrastructure = Infrastructure(self._site, Lab(self._layout))
        found = {one.name: one.healthy() for one in infrastructure.daemons}
        services = OpenStack(self._site).daemons
        return found | {name: one.healthy() for name, one in services.items()}

    def _status(self) -> int:
        told = self._daemons()
        for name, up in told.items():
            print(f'{name}: {"up" if up else "down"}')
        return 0 if all(told.values()) else 1

    def _driver(self) -> int:
        options = dict(one.split('=', 1) for one in self._options.set)
        native = tuple(one for one in self._options.native.split(',') if one)
        driver = _DRIVERS[self._options.driver]
        config.Choice(driver, native, options, self._options.cinder).store(self._site)
        config.write_compute(self._site)
        return self._restart_all(['nova-compute'])

    def _tokens(self) -> int:
        config.write_keystone(self._site, self._options.seconds)
        return self._restart_all(['keystone-api'])

    def _restart(self) -> int:
        return self._restart_all(self._options.services, self._options.doom)

    def _restart_all(self, names: Sequence[str], doom: str | None = None) -> int:
        openstack = OpenStack(self._site)
        if doom is not None:
            openstack.daemons['nova-compute'] = openstack.doomed(doom)
        for name in names:
            openstack.daemons[name].terminate(30)
        # Nova's times are whole seconds, and what has ended may have told in this one.
        ended = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
        openstack.start(*names)
        self._catalog('wait', since=ended.strftime('%Y-%m-%dT%H:%M:%S'))
        return 0

    def _run(self) -> int:
        words = list(self._options.command)
        argv = words[1:] if words[:1] == ['--'] else words
        if not argv:
            raise LabError('run', 'no command given')
        name = self._layout.name
        lab = [sys.executable, '-m', 'tests.lab', '--name', name, 'run', '--', *argv]
        done = subprocess.run(
            lab,
            cwd=pathlib.Path.cwd(),
            env={**self._environment(), 'PYTHONPATH': str(REPOSITORY)},
            check=False,
        )
        return done.returncode


if __name__ == '__main__':
    sys.exit(main())
