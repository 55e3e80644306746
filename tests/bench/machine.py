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
"""Whose CPU time a copy takes, and whether any was left."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.measured import children_s, cpu_s, server_pid
from tests.lab.lab import Lab

_STAT = Path('/proc/stat')
#: Who copies: the guest's QEMU, or qemu-img. The backends' own servers; a file has none.
COPIER, SOURCE, DESTINATION = 'copier', 'source', 'destination'
#: All cores: what they worked, and what they had nothing to do but to wait for a disk.
BUSY, WAITING = 'busy', 'waiting'


class Load:
    """CPU seconds, from its making to :meth:`taken`. One thread uses it.

    A server that both volumes are on counts as the source's.

    :param qemu: process id of the guest's QEMU; None: a child of this process copies
    """

    def __init__(self, lab: Lab, kinds: tuple[str, str], qemu: int | None) -> None:
        self._qemu = qemu
        self._servers = {
            role: pid
            for role, kind in zip((SOURCE, DESTINATION), kinds, strict=True)
            if (pid := server_pid(lab, kind)) is not None
        }
        self._before = self._now()

    def taken(self) -> dict[str, float]:
        """Seconds by who took them."""
        return {name: value - self._before[name] for name, value in self._now().items()}

    def _now(self) -> dict[str, float]:
        known = {role: cpu_s(pid) for role, pid in self._servers.items()}
        known[COPIER] = children_s() if self._qemu is None else cpu_s(self._qemu)
        return known | parse(_STAT.read_text(), os.sysconf('SC_CLK_TCK'))


def parse(stat: str, ticks: int) -> dict[str, float]:
    """Read the seconds of all cores from ``/proc/stat`` (proc(5))."""
    user, nice, system, _idle, iowait, irq, softirq, steal, *_guests = (
        int(word) / ticks for word in stat.splitlines()[0].split()[1:]
    )
    return {BUSY: user + nice + system + irq + softirq + steal, WAITING: iowait}
