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
"""An iSCSI portal with CHAP: tgtd, which needs no kernel module.

tgtd forgets its targets when it ends.  The lab remembers them, and :meth:`Iscsi.start` exports
the same again, as a storage array does after a restart.
"""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
import secrets
from collections.abc import Iterator

from tests.lab.layout import Credentials, Layout, write_private
from tests.lab.process import Daemon, run
from tests.lab.sockets import answers

PORTAL = '127.0.0.1:3260'
#: Naming authority of the targets; ``.example`` is reserved by RFC 2606.
IQN_PREFIX = 'iqn.2026-01.example.lab'
INITIATOR = f'{IQN_PREFIX}:initiator'
#: LUN 0 of tgtd is its controller; a volume is always this one.
LUN = 1
_TGTADM = ('tgtadm', '--lld', 'iscsi')


@dataclasses.dataclass(frozen=True)
class Target:
    """One exported file."""

    tid: int
    iqn: str
    path: str


class Iscsi:
    """The portal; a fault hook acts upon tgtd and with it upon every target."""

    def __init__(self, layout: Layout, credentials: Credentials) -> None:
        self._credentials = credentials
        self._record = layout.root / 'targets.json'
        argv = ['tgtd', '--foreground', '--iscsi', f'portal={PORTAL}']
        self.daemon = Daemon(layout, 'tgtd', argv, lambda: answers('127.0.0.1', 3260))

    def up(self) -> None:
        """Start tgtd unless it runs, and export the remembered targets.

        :raise LabError: it did not come up
        """
        if self.daemon.healthy():
            return
        self.daemon.start()
        user, password = self._credentials.chap_username, self._credentials.chap_password
        self._admin('account', 'new', '--user', user, '--password', password)
        for target in self._targets():
            self._export(target)

    def alive(self) -> bool:
        """Whether tgtd runs, be it stopped."""
        return self.daemon.alive()

    def healthy(self) -> bool:
        """Whether tgtd runs and accepts connections."""
        return self.daemon.healthy()

    def stop(self) -> None:
        """Stop tgtd (SIGSTOP): connections are accepted by the kernel and never served."""
        self.daemon.stop()

    def cont(self) -> None:
        """Let tgtd go on."""
        self.daemon.cont()

    def kill(self) -> None:
        """Kill tgtd: connections are reset, new ones refused."""
        self.daemon.kill()

    def start(self) -> None:
        """Start tgtd again, with the same targets."""
        self.up()

    def add(self, name: str, path: pathlib.Path) -> Target:
        """Export a file as a target of its own, behind CHAP and with UNMAP."""
        with self._locked():
            targets = self._targets()
            tid = 1 + max((one.tid for one in targets), default=0)
            target = Target(tid, f'{IQN_PREFIX}:{name}', str(path))
            self._export(target)
            self._remember([*targets, target])
        return target

    def remove(self, target: Target) -> None:
        """Withdraw a target, open sessions or not."""
        with self._locked():
            self._remember([one for one in self._targets() if one != target])
            if self.alive():
                self._admin('target', 'delete', '--force', '--tid', str(target.tid))

    def withdraw(self, target: Target) -> None:
        """Take a target away for a while, open sessions or not; its file stays."""
        with self._locked():
            self._admin('target', 'delete', '--force', '--tid', str(target.tid))

    def restore(self, target: Target) -> None:
        """Export a target that was withdrawn, as it was."""
        with self._locked():
            self._export(target)

    def change_account(self, target: Target, *, back: bool = False) -> None:
        """Let a target want another name and password than it did; sessions go on.

        :param back: let it want the lab's own again
        """
        own, other = self._credentials.chap_username, f'other-{target.tid}'
        given, taken = (own, other) if back else (other, own)
        tid = ('--tid', str(target.tid))
        with self._locked():
            if not back:
                self._admin('account', 'new', '--user', other, '--password', secrets.token_hex(8))
            self._admin('account', 'unbind', *tid, '--user', taken)
            self._admin('account', 'bind', *tid, '--user', given)
            if back:
                self._admin('account', 'delete', '--user', other)

    def sessions(self, target: Target) -> int:
        """Number of initiators that are logged in to a target."""
        told = run([*_TGTADM, '--mode', 'conn', '--op', 'show', '--tid', str(target.tid)])
        return told.count('Session:')

    def _export(self, target: Target) -> None:
        tid = ('--tid', str(target.tid))
        lun = (*tid, '--lun', str(LUN))
        self._admin('target', 'new', *tid, '--targetname', target.iqn)
        self._admin('logicalunit', 'new', *lun, '--backing-store', target.path)
        self._admin('logicalunit', 'update', *lun, '--params', 'thin_provisioning=1')
        self._admin('account', 'bind', *tid, '--user', self._credentials.chap_username)
        self._admin('target', 'bind', *tid, '--initiator-address', 'ALL')

    def _admin(self, mode: str, operation: str, *words: str) -> None:
        run([*_TGTADM, '--mode', mode, '--op', operation, *words])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Several test processes share the portal."""
        with self._record.with_suffix('.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _targets(self) -> list[Target]:
        try:
            return [Target(**one) for one in json.loads(self._record.read_text())]
        except FileNotFoundError:
            return []

    def _remember(self, targets: list[Target]) -> None:
        write_private(self._record, json.dumps([dataclasses.asdict(one) for one in targets]))
