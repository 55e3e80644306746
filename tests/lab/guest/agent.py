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
"""What a program on the host asks of the agent in a guest: writers, fills, checksums."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence

from tests.lab.deadline import wait_until
from tests.lab.guest.console import Console
from tests.lab.oracle import Acked
from tests.lab.pattern import Fill, Run

_tags = itertools.count(int.from_bytes(os.urandom(3), 'big') << 8)


@dataclasses.dataclass(frozen=True)
class Writer:
    """Counters of one writer in the guest (see ``agent.c``)."""

    device: str
    tag: int
    writer: int
    running: bool
    acked: int
    issued: int
    errors: int
    last_errno: int
    longest_us: int
    longest_at_us: int
    slow_100ms: int
    slow_1s: int
    pending_us: int


@dataclasses.dataclass(frozen=True)
class Stat:
    """Counters of all writers at one moment of the guest's monotonic clock."""

    now_us: int
    writers: Sequence[Writer]

    @property
    def acked(self) -> int:
        """Acknowledged writes of all writers."""
        return sum(one.acked for one in self.writers)

    @property
    def errors(self) -> int:
        """Writes that failed, each try counted."""
        return sum(one.errors for one in self.writers)

    @property
    def longest_us(self) -> int:
        """Longest that a write took or, if it still runs, has taken."""
        return max((max(one.longest_us, one.pending_us) for one in self.writers), default=0)


class Agent:
    """The agent of one guest, and what its writers have done as far as it was read.

    Disks go by the name that the guest's kernel gives them: the first virtio disk is ``vda``,
    the first SCSI disk ``sda``, whatever their targets in the domain are. One thread at a time.

    :ivar name: for errors
    """

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self.console = console
        self._runs: dict[int, Run] = {}
        self._last: dict[tuple[int, int], Acked] = {}

    def start_writers(
        self,
        device: str = 'vda',
        *,
        writers: int = 2,
        blocks: int = 512,
        stride: int = 65536,
        delay_us: int = 0,
        base: int = 0,
    ) -> Run:
        """Start writers on a disk that has none.

        :param blocks: places of each writer, a power of two
        :param stride: bytes between two places
        :param delay_us: pause after each write
        :raise AgentError: the agent refused
        """
        run = Run(device, next(_tags) & 0xFFFFFFFF, writers, blocks, stride, base)
        self.console.ask('start', device, run.tag, writers, blocks, stride, delay_us, base)
        self._runs[run.tag] = run
        for writer in range(writers):
            self._last[run.tag, writer] = Acked(run, writer, 0, 0)
        return run

    def stat(self, timeout_s: float = 30) -> Stat:
        """The counters now.

        :raise AgentSilent: no answer: the guest is frozen
        """
        told = self.console.ask('stat', timeout_s=timeout_s)
        stat = Stat(told['now_us'], [Writer(**one) for one in told['writers']])
        for one in stat.writers:
            run = self._runs.get(one.tag)
            if run:
                self._last[one.tag, one.writer] = Acked(run, one.writer, one.acked, one.issued)
        return stat

    def reset(self) -> None:
        """Forget latencies and errors so far; the counters of writes go on."""
        self.console.ask('reset')

    def latencies(self) -> dict[int, int]:
        """How many writes of all writers took how long, since the start or :meth:`reset`.

        Keys are microseconds, the lower end of a range that is an eighth wide.
        """
        told = self.console.ask('latencies')
        return {lowest_us(bucket): count for bucket, count in told['buckets']}

    def stop_writers(self, device: str = 'all', timeout_s: float = 60) -> Stat:
        """Ask writers to end, wait until they have, and return their last counters.

        :raise LabError: one hangs in a write for longer than `timeout_s`
        """
        self.console.ask('stop', device)

        def ended() -> Stat | None:
            stat = self.stat()
            going = [one for one in stat.writers if one.running and device in ('all', one.device)]
            return None if going else stat

        return wait_until(ended, timeout_s, f'the writers of {self.name} end')

    def wait_acked(self, count: int, timeout_s: float = 60) -> Stat:
        """Wait until `count` more writes are acknowledged than there are now."""
        least = self.stat().acked + count

        def enough() -> Stat | None:
            stat = self.stat()
            return stat if stat.acked >= least else None

        return wait_until(enough, timeout_s, f'{count} more writes of {self.name}')

    def acked(self, device: str = 'vda') -> list[Acked]:
        """How far all writers on a disk have come, as last read, in the order of their runs.

        After :meth:`stop_writers` that is final; else ask the oracle with ``exact=False``.
        """
        return [one for one in self._last.values() if one.run.device == device]

    def freezes(self) -> tuple[bool, int]:
        """Whether the writers stand still on libvirt's request, and how often they did."""
        told = self.console.ask('ping')
        return bool(told['frozen']), int(told['freezes'])

    def size(self, device: str = 'vda') -> int:
        """Size of a disk in bytes, as the guest sees it."""
        return int(self.console.ask('size', device)['bytes'])

    def fill(self, fill: Fill, device: str = 'vda', timeout_s: float = 120) -> None:
        """Write deterministic data to a disk and flush it."""
        words = (fill.seed, fill.offset, fill.length)
        self.console.ask('fill', device, *words, timeout_s=timeout_s)

    def crc(self, device: str, offset: int, length: int, timeout_s: float = 120) -> int:
        """crc32 of a range of a disk, as the guest reads it."""
        return int(self.console.ask('crc', device, offset, length, timeout_s=timeout_s)['crc'])


def lowest_us(bucket: int) -> int:
    """The shortest time (microseconds) that is counted in a bucket of ``agent.c``."""
    if bucket < 8:
        return bucket
    return (8 + bucket % 8) << (bucket // 8 - 1)


def percentile_us(latencies: Mapping[int, int], share: float) -> int:
    """The time (microseconds) that `share` (0 to 1) of all writes did not exceed, 0 for none."""
    total, seen = sum(latencies.values()), 0
    for lowest, count in sorted(latencies.items()):
        seen += count
        if seen >= share * total:
            return lowest
    return 0
