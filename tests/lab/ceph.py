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
"""A one-node Ceph cluster: monitor, manager, and one BlueStore OSD on a sparse file.

cephx is on.  ``/etc/ceph`` holds ``ceph.conf`` and the administrator's keyring, but none for
``client.cinder``: whoever forgets to hand over that key is refused.
"""

import json
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Sequence

from tests.lab.deadline import wait_until
from tests.lab.layout import Credentials, LabError, Layout
from tests.lab.process import Daemon, run
from tests.lab.sockets import answers

#: Pools that ``client.cinder`` may use.
POOLS = ('volumes', 'volumes2')
USER = 'cinder'
HOST = '127.0.0.1'
#: Ports of a monitor's messenger v2 and v1 (Ceph's network reference).
PORT_V2, PORT_V1 = 3300, 6789
#: Most that the OSD's file can grow to; BlueStore never shrinks it.
_OSD_BYTES = 12 << 30

_CONF = """\
[global]
fsid = {fsid}
mon host = [v2:{host}:{v2}/0,v1:{host}:{v1}/0]
mon initial members = a
public addr = {host}
cluster addr = {host}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = /run/ceph
crash dir = {home}/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 2
mon data avail crit = 1
mon max pg per osd = 1000
[mon]
mon data = {home}/$name
log file = {logs}/$name.log
auth allow insecure global id reclaim = false
[mgr]
mgr data = {home}/$name
keyring = {home}/$name.keyring
log file = {logs}/$name.log
[osd]
osd data = {home}/$name
keyring = {home}/$name.keyring
log file = {logs}/$name.log
osd objectstore = bluestore
bluestore block size = {osd_bytes}
bluestore block create = true
bluestore block preallocate file = false
osd memory target = 939524096
osd memory target autotune = false
bluestore cache autotune = false
bluestore cache size = 134217728
osd op num shards = 2
[client]
rbd default features = 61
log file = /dev/null
"""


class Ceph:
    """The cluster; `mon`, `mgr` and `osd` are daemons that a test may stop or kill."""

    def __init__(self, layout: Layout, credentials: Credentials) -> None:
        self._home = layout.root / 'ceph'
        self._layout = layout
        self._credentials = credentials
        self._etc = pathlib.Path('/etc/ceph')
        self.mon = self._daemon('mon', 'a', lambda: answers(HOST, PORT_V2))
        self.mgr = self._daemon('mgr', 'x', lambda: True)
        self.osd = self._daemon('osd', '0', self._osd_up)

    @property
    def key(self) -> str:
        """The cephx key of ``client.cinder``: a secret."""
        return self._credentials.cinder_key

    def up(self) -> None:
        """Make the cluster if there is none, start it, and wait until its OSD is in.

        :raise LabError: a daemon did not come up
        """
        if self.healthy():
            return
        fresh = not (self._home / 'made').exists()
        if fresh:
            shutil.rmtree(self._home, ignore_errors=True)
            self._make_monitor()
        self.mon.start()
        if fresh:
            self._make_osd()
        self.mgr.start()
        if not self.osd.alive():
            self.osd.launch()
        if fresh:
            for pool in POOLS:
                self.command('osd', 'pool', 'create', pool, '8', '8')
        self.osd.wait_ready()
        if fresh:
            for pool in POOLS:
                run(['rbd', 'pool', 'init', pool])
            (self._home / 'made').touch()

    def alive(self) -> bool:
        """Whether all three daemons run, stopped ones included."""
        return all(one.alive() for one in (self.mon, self.mgr, self.osd))

    def healthy(self) -> bool:
        """Whether the daemons run, and the monitor reports the OSD up."""
        return self.alive() and self.mon.healthy() and self._osd_up()

    def stop(self) -> None:
        """Stop the OSD (SIGSTOP): the monitor goes on answering, and reads and writes hang."""
        self.osd.stop()

    def cont(self) -> None:
        """Let a stopped OSD go on."""
        self.osd.cont()

    def kill(self) -> None:
        """Kill OSD, manager and monitor: clients find no open port."""
        for one in (self.osd, self.mgr, self.mon):
            one.kill()

    def start(self) -> None:
        """Start what does not run."""
        self.up()

    def allow(self, methods: str) -> None:
        """Restart the cluster with these ways to authenticate: ``cephx``, ``cephx, none``."""
        path = self._etc / 'ceph.conf'
        words = r'^(auth (?:client|service|cluster) required) = .*$'
        path.write_text(re.sub(words, rf'\1 = {methods}', path.read_text(), flags=re.MULTILINE))
        self.kill()
        self.start()

    def command(self, *words: str, timeout_s: float = 60) -> str:
        """Run ``ceph WORDS`` as administrator and return what it printed.

        :raise LabError: it failed
        """
        argv = ['ceph', '--connect-timeout', str(round(timeout_s)), *words]
        return run(argv, timeout_s=timeout_s + 10)

    def watchers(self, image: str, pool: str = POOLS[0]) -> int:
        """Number of clients that have an image open."""
        argv = ['rbd', 'status', '--format', 'json', f'{pool}/{image}']
        return len(json.loads(run(argv))['watchers'])

    def _daemon(self, kind: str, name: str, ready: Callable[[], bool]) -> Daemon:
        argv = [f'ceph-{kind}', '--foreground', '--id', name]
        return Daemon(self._layout, f'ceph-{kind}', argv, ready, timeout_s=90)

    def _osd_up(self) -> bool:
        try:
            told: dict[str, int] = json.loads(
                run(['ceph', '--connect-timeout', '5', 'osd', 'stat', '-f', 'json'], timeout_s=10)
            )
        except LabError:
            return False
        return told.get('num_up_osds') == 1

    def _make_monitor(self) -> None:
        home = self._home
        home.mkdir(mode=0o700)
        (home / 'crash' / 'posted').mkdir(parents=True)
        (self._etc / 'ceph.conf').write_text(
            _CONF.format(
                fsid=self._credentials.fsid,
                host=HOST,
                v2=PORT_V2,
                v1=PORT_V1,
                home=home,
                logs=self._layout.logs,
                osd_bytes=_OSD_BYTES,
            )
        )
        pools = ', '.join(f'profile rbd pool={pool}' for pool in POOLS)
        everything = {'mon': 'allow *', 'osd': 'allow *', 'mgr': 'allow *', 'mds': 'allow *'}
        admin = self._etc / 'ceph.client.admin.keyring'
        self._key(home / 'mon.keyring', 'mon.', {'mon': 'allow *'})
        self._key(admin, 'client.admin', everything)
        self._key(home / 'mgr.x.keyring', 'mgr.x', {'mon': 'allow profile mgr', 'osd': 'allow *'})
        self._key(
            home / 'cinder.keyring',
            f'client.{USER}',
            {'mon': 'profile rbd', 'osd': pools, 'mgr': pools},
            self.key,
        )
        for name in (admin, home / 'mgr.x.keyring', home / 'cinder.keyring'):
            run(['ceph-authtool', str(home / 'mon.keyring'), '--import-keyring', str(name)])
        (home / 'mgr.x').mkdir()
        address = f'[v2:{HOST}:{PORT_V2},v1:{HOST}:{PORT_V1}]'
        argv = ['monmaptool', '--create', '--clobber', '--fsid', self._credentials.fsid]
        run([*argv, '--addv', 'a', address, str(home / 'monmap')])
        argv = ['ceph-mon', '--mkfs', '--id', 'a', '--monmap', str(home / 'monmap')]
        run([*argv, '--keyring', str(home / 'mon.keyring')])

    def _key(
        self, path: pathlib.Path, entity: str, caps: dict[str, str], key: str | None = None
    ) -> None:
        """Write a keyring; the key does not show in any command line."""
        path.touch(mode=0o600)
        key = key or run(['ceph-authtool', '--gen-print-key']).strip()
        lines = [f'[{entity}]', f'\tkey = {key}']
        lines += [f'\tcaps {service} = "{allowed}"' for service, allowed in caps.items()]
        path.write_text('\n'.join(lines) + '\n')

    def _make_osd(self) -> None:
        name, secret = str(uuid.uuid4()), run(['ceph-authtool', '--gen-print-key']).strip()
        (self._home / 'osd.0').mkdir()
        (self._home / 'osd.0.keyring').write_text(f'[osd.0]\n\tkey = {secret}\n')
        given = self._home / 'osd.json'
        given.write_text(json.dumps({'cephx_secret': secret}))
        wait_until(lambda: self._try(['osd', 'new', name, '0', '-i', str(given)]), 30, 'osd new')
        given.unlink()
        run(['ceph-osd', '--id', '0', '--mkfs', '--osd-uuid', name])

    def _try(self, words: Sequence[str]) -> bool:
        try:
            self.command(*words, timeout_s=10)
        except LabError:
            return False
        return True
