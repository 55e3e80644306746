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
"""What a process and a server have used: CPU time, memory, bytes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.layout import LabError

_PROC = Path('/proc')
#: Seconds between two looks at a command's memory: what it takes for less is not seen.
_LOOK_S = 0.02


@dataclass(frozen=True)
class Used:
    """What a command has used.

    :ivar seconds: from its start to its end
    :ivar peak_kib: VmHWM as last seen before its end
    """

    seconds: float
    cpu_s: float
    peak_kib: int


def status(pid: int, name: str) -> int:
    """A number of ``/proc/PID/status`` (proc(5)), 0 if it is not there any more."""
    try:
        text = (_PROC / str(pid) / 'status').read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        key, _, value = line.partition(':')
        if key == name:
            return int(value.split()[0])
    return 0


def cpu_s(pid: int) -> float:
    """CPU time (seconds) of a process that runs, from ``/proc/PID/stat``."""
    _, _, rest = (_PROC / str(pid) / 'stat').read_text().rpartition(') ')
    user, system = rest.split()[11:13]
    return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


def children_s() -> float:
    """CPU time (seconds) of the children that this process has waited for."""
    times = os.times()
    return times.children_user + times.children_system


def run(argv: Sequence[str], timeout_s: float) -> Used:
    """Run a command to its end.

    Its memory is looked at from outside: what wait4(2) tells may be that of the process which
    started it.

    :raise LabError: it failed, or took too long
    """
    begun = time.monotonic()
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        peak = _Peak(process.pid)
        peak.start()
        before = children_s()
        try:
            said, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise LabError(Path(argv[0]).name, f'no end within {timeout_s:g} s') from error
        finally:
            peak.over.set()
            peak.join()
    took, used = time.monotonic() - begun, children_s() - before
    if process.returncode:
        text = said.decode(errors='replace').strip()[-300:]
        raise LabError(Path(argv[0]).name, f'ended with {process.returncode}: {text}')
    return Used(took, used, peak.kib)


class _Peak(threading.Thread):
    """Looks at a process's memory until it is told to end."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.kib = 0
        self._pid = pid

    def run(self) -> None:
        while not self.over.wait(_LOOK_S):
            self.kib = max(self.kib, status(self._pid, 'VmHWM'))


@dataclass(frozen=True)
class Bytes:
    """What a backend's server has read and written since it was started."""

    read: int
    written: int

    def __sub__(self, other: Bytes) -> Bytes:
        return Bytes(self.read - other.read, self.written - other.written)


def server_pid(lab: Lab, kind: str) -> int | None:
    """Process id of the server of a kind of backend; None of one that has none."""
    servers = {'rbd': lab.ceph.osd, 'nfs': lab.nfs.ganesha, 'iscsi': lab.iscsi.daemon}
    return servers[kind].pid if kind in servers else None


def served(lab: Lab, kind: str, qemu: int | None) -> Bytes | None:
    """What the server of a kind of backend has done; None where nobody tells.

    The guest's own QEMU is the one that reads and writes a file; nfs and iscsi have a process
    whose system calls count, and the OSD counts for itself.
    """
    if kind == 'rbd':
        told = json.loads(lab.ceph.command('tell', 'osd.0', 'perf', 'dump', 'osd'))['osd']
        return Bytes(told['op_out_bytes'], told['op_in_bytes'])
    pid = qemu if kind == 'file' else server_pid(lab, kind)
    if pid is None:
        return None
    text = (_PROC / str(pid) / 'io').read_text()
    found = dict(line.split(': ') for line in text.splitlines())
    return Bytes(int(found['rchar']), int(found['wchar']))


def qemu_of(name: str) -> int:
    """Process id of a guest's QEMU."""
    return int(Path(f'/run/libvirt/qemu/{name}.pid').read_text())
