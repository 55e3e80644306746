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
"""Parts of the lab that only faults need: a volume whose server fails, a small disk."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
from collections.abc import Iterable
from typing import Any

from tests.lab.deadline import wait_until
from tests.lab.layout import LabError
from tests.lab.process import Identity, end, run
from tests.lab.sockets import answers_unix
from tests.lab.volumes import NbdVolume

_SECTOR = 512


class FailingVolume(NbdVolume):
    """An NBD export of a qemu-storage-daemon, which puts blkdebug below it when told to."""

    kind = 'failing'

    def __init__(self, lab: Any) -> None:
        super().__init__(lab, unix=True)

    @property
    def _monitor(self) -> pathlib.Path:
        return self.path.with_suffix('.qmp')

    def _create(self, size: int) -> None:
        self.path.parent.mkdir(mode=0o711, exist_ok=True)
        with self.path.open('xb') as made:
            made.truncate(size)
        run([
            'qemu-storage-daemon', '--daemonize', '--pidfile', str(self._pid_file),
            '--blockdev', f'driver=file,node-name=disk,filename={self.path}',
            '--blockdev', 'driver=raw,node-name=top,file=disk',
            '--nbd-server', f'addr.type=unix,addr.path={self._socket}',
            '--export', f'type=nbd,id=export,node-name=top,name={self.name},writable=on',
            '--chardev', f'socket,id=monitor,path={self._monitor},server=on,wait=off',
            '--monitor', 'chardev=monitor',
        ])  # fmt: skip
        wait_until(lambda: answers_unix(self._socket), 10, f'{self.name} is served')

    def fail(self, errno: int, iotype: str, offsets: Iterable[int]) -> None:
        """Let requests of a kind that touch one of these offsets (bytes) fail from now on."""
        rules = [
            {
                'event': 'none', 'iotype': iotype, 'errno': errno, 'once': False,
                'immediately': True, 'sector': offset // _SECTOR,
            }
            for offset in offsets
        ]  # fmt: skip
        bad = {'driver': 'blkdebug', 'node-name': 'bad', 'image': 'disk', 'inject-error': rules}
        self._ask('blockdev-add', bad)
        self._put('bad')

    def mend(self) -> None:
        """Let nothing fail any more."""
        self._put('disk')
        with contextlib.suppress(LabError):
            self._ask('blockdev-del', {'node-name': 'bad'})

    def delete(self) -> None:
        """Stop the server, which removes its pid file itself, and remove the file."""
        served = Identity.of(int(self._pid_file.read_text())) if self._pid_file.exists() else None
        if served is not None:
            end(served)
        self._pid_file.unlink(missing_ok=True)
        super().delete()
        self._monitor.unlink(missing_ok=True)

    def _put(self, below: str) -> None:
        options = [{'driver': 'raw', 'node-name': 'top', 'file': below}]
        self._ask('blockdev-reopen', {'options': options})

    def _ask(self, command: str, arguments: dict[str, Any]) -> None:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(10)
            line.connect(str(self._monitor))
            lines = line.makefile('rw')
            lines.readline()
            asked = ({'execute': 'qmp_capabilities'}, {'execute': command, 'arguments': arguments})
            for one in asked:
                lines.write(json.dumps(one) + '\n')
                lines.flush()
                answer = json.loads(lines.readline())
                while 'event' in answer:
                    answer = json.loads(lines.readline())
                if 'error' in answer:
                    raise LabError(self.kind, f'{command}: {answer["error"]}')


class SmallDisk:
    """A file system of 2 MiB, for a journal; :meth:`fill` leaves no byte of it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._ballast = path / 'ballast'
        path.mkdir(mode=0o700)
        run(['mount', '-t', 'tmpfs', '-o', 'size=2m,mode=0700', 'none', str(path)])

    def fill(self) -> None:
        """Take all that is left."""
        with self._ballast.open('ab', buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(bytes(4096))

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        run(['umount', '--lazy', str(self.path)])


def kill_qemu(domain_name: str) -> None:
    """SIGKILL the guest's QEMU."""
    pid = int(pathlib.Path(f'/run/libvirt/qemu/{domain_name}.pid').read_text())
    identity = Identity.of(pid)
    if identity is not None:
        end(identity, 0)


def link(up: bool) -> None:
    """Take the only link of the lab's network namespace down, or up again."""
    run(['ip', 'link', 'set', 'lo', 'up' if up else 'down'])


def stopped(pid: int) -> bool:
    """Whether our child has stopped itself.

    :raise LabError: it has ended instead
    """
    flags = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
    found = os.waitid(os.P_PID, pid, flags)
    if found is not None and found.si_code != os.CLD_STOPPED:
        raise LabError('command', 'ended before it was where the fault was to strike')
    return found is not None
