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
"""What stands below OpenStack: MariaDB, RabbitMQ, memcached, and the backends' accounts."""

import concurrent.futures
import pathlib
import subprocess
from collections.abc import Callable

from tests.cloud import site as places
from tests.cloud.site import HOST, Site
from tests.lab.lab import Lab
from tests.lab.layout import LabError, write_private
from tests.lab.libvirtd import URI
from tests.lab.process import Daemon, run
from tests.lab.sockets import answers

DATABASES = ('keystone', 'glance', 'placement', 'nova', 'nova_api', 'nova_cell0', 'cinder')


class Infrastructure:
    """Its methods are called inside the lab."""

    def __init__(self, site: Site, lab: Lab) -> None:
        self._site = site
        self._lab = lab
        self._socket = site.root / 'mariadb.sock'
        self._rabbit_home = site.state / 'rabbitmq'
        layout = site.layout
        self.mariadb = Daemon(
            layout, 'mariadb', self._mariadb(), lambda: answers(HOST, places.MARIADB)
        )
        self.rabbitmq = Daemon(
            layout,
            'rabbitmq',
            [*self._rabbit_environment(), '/usr/lib/rabbitmq/bin/rabbitmq-server'],
            lambda: answers(HOST, places.RABBIT),
            timeout_s=180,
        )
        memcached = ['memcached', '-u', 'root', '-l', HOST, '-p', str(places.MEMCACHED)]
        self.memcached = Daemon(
            layout, 'memcached', [*memcached, '-m', '64'], lambda: answers(HOST, places.MEMCACHED)
        )

    @property
    def daemons(self) -> tuple[Daemon, ...]:
        """All of them."""
        return (self.mariadb, self.rabbitmq, self.memcached)

    def up(self) -> None:
        """Start what does not run, and make databases, accounts and directories.

        :raise LabError: something did not come up
        """
        jobs: list[Callable[[], None]] = [
            self._database_up,
            self._rabbit_up,
            self.memcached.start,
            self._backends_up,
        ]
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()

    def _mariadb(self) -> list[str]:
        """Durability is off: a cloud whose machine dies is made anew."""
        return [
            'mariadbd',
            '--no-defaults',
            '--user=root',
            f'--datadir={self._site.state / "mariadb"}',
            f'--bind-address={HOST}',
            f'--port={places.MARIADB}',
            f'--socket={self._socket}',
            f'--pid-file={self._site.root / "mariadb.pid"}',
            '--max-connections=1000',
            '--innodb-flush-log-at-trx-commit=0',
            '--innodb-doublewrite=0',
            '--innodb-buffer-pool-size=128M',
            '--skip-log-bin',
            '--skip-name-resolve',
        ]

    def _database_up(self) -> None:
        data = self._site.state / 'mariadb'
        if not (data / 'mysql').exists():
            data.mkdir(exist_ok=True)
            argv = ['mariadb-install-db', '--no-defaults', '--user=root', f'--datadir={data}']
            run([*argv, '--auth-root-authentication-method=normal', '--skip-test-db'])
        self.mariadb.start()
        words = [
            f'CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;'
            f"GRANT ALL ON {name}.* TO 'os'@'{HOST}' IDENTIFIED BY '{self._site.password}';"
            for name in DATABASES
        ]
        # By standard input: a command line can be read by everybody.
        argv = ['mariadb', '--no-defaults', '-uroot', f'--socket={self._socket}']
        run(argv, stdin=''.join(words))

    def _rabbit_environment(self) -> list[str]:
        home = self._rabbit_home
        given = {
            'HOME': home,
            'LC_ALL': 'C.UTF-8',
            'RABBITMQ_NODENAME': 'cloud@localhost',
            'RABBITMQ_CONFIG_FILE': home / 'rabbitmq',
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_MNESIA_BASE': home / 'mnesia',
            'RABBITMQ_LOG_BASE': home / 'log',
            'RABBITMQ_ENABLED_PLUGINS_FILE': home / 'plugins',
            'RABBITMQ_PID_FILE': home / 'pid',
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '+S 1:1 +sbwt none',
        }
        return [f'{name}={value}' for name, value in given.items()]

    def _rabbit_up(self) -> None:
        home = self._rabbit_home
        home.mkdir(mode=0o700, exist_ok=True)
        options = {
            'listeners.tcp.1': f'{HOST}:{places.RABBIT}',
            'default_user': 'openstack',
            'default_pass': self._site.password,
            'loopback_users': 'none',
            'vm_memory_high_watermark.absolute': '512MB',
            'disk_free_limit.absolute': '50MB',
        }
        lines = [f'{name} = {value}' for name, value in options.items()]
        write_private(home / 'rabbitmq.conf', '\n'.join(lines) + '\n')
        (home / 'plugins').write_text('[].\n')
        self.rabbitmq.start()

    def _backends_up(self) -> None:
        site = self._site
        link = site.sockets / HOST
        link.unlink(missing_ok=True)
        link.symlink_to(site.layout.hostdirs / 'run/libvirt/libvirt-sock')
        for path in (*(site.share_path(name) for name in places.NFS), site.targets):
            path.mkdir(parents=True, exist_ok=True)
        site.iscsi_files.mkdir(mode=0o700, exist_ok=True)
        for service in ('nova', 'nova2', 'cinder'):
            base = site.state / service / 'mnt'
            base.mkdir(parents=True, exist_ok=True)
            if not base.is_mount():
                # Python takes a directory for a mount point only when its device differs from
                # its parent's; a directory of the same file system, bound to it, would not do.
                run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'mounts', str(base)])
        tgt = pathlib.Path('/etc/tgt')
        double = site.layout.hostdirs / 'etc/tgt'
        if not double.exists():
            (double / 'conf.d').mkdir(parents=True)
            (double / 'targets.conf').write_text(f'include {site.targets}/*\n')
        if not (tgt / 'targets.conf').samefile(double / 'targets.conf'):
            run(['mount', '--bind', str(double), str(tgt)])
        etc = site.etc / 'ceph'
        etc.mkdir(mode=0o700, exist_ok=True)
        given = pathlib.Path('/etc/ceph/ceph.conf').read_text().partition('[mon]')[0]
        (etc / 'ceph.conf').write_text(f'{given}keyring = {etc}/ceph.$name.keyring\n')
        for pool, user in places.RBD.values():
            self._ceph_user(etc, pool, user)

    def _ceph_user(self, etc: pathlib.Path, pool: str, user: str) -> None:
        """One pool, one user, one secret of libvirt, as an operator of two backends has it."""
        keyring = etc / f'ceph.client.{user}.keyring'
        caps = ['mon', 'profile rbd', 'osd', f'profile rbd pool={pool}']
        told = self._lab.ceph.command(
            'auth', 'get-or-create', f'client.{user}', *caps, 'mgr', f'profile rbd pool={pool}'
        )
        write_private(keyring, told)
        self.define_secret(user)

    def define_secret(self, user: str) -> None:
        """Let this host's libvirt know the key of a cephx user, under the uuid that Nova knows."""
        keyring = self._site.etc / 'ceph' / f'ceph.client.{user}.keyring'
        lines = keyring.read_text().splitlines()
        key = next(line.split()[-1] for line in lines if 'key =' in line)
        uuid = self._site.secrets.ceph[user]
        virsh = ['virsh', '--quiet', '--connect', URI]
        known = subprocess.run([*virsh, 'secret-dumpxml', uuid], capture_output=True, check=False)
        if known.returncode:
            xml = self._site.state / f'{user}.xml'
            xml.write_text(
                f"<secret ephemeral='no' private='yes'><uuid>{uuid}</uuid>"
                f"<usage type='ceph'><name>client.{user} of the cloud</name></usage></secret>"
            )
            run([*virsh, 'secret-define', str(xml)])
        held = self._site.state / f'{user}.key'
        write_private(held, key)
        try:
            run([*virsh, 'secret-set-value', uuid, '--file', str(held)])
        except LabError as error:
            raise LabError('cloud', f'the secret of {user} was not taken') from error
        finally:
            held.unlink()
