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
"""The measurements: pairs of backends, what is on the volume, and whether the guest writes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench.contenders import CONTENDERS, Contender
from tests.lab.deadline import wait_until
from tests.lab.guest.agent import percentile_us
from tests.lab.guest.console import AgentError
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.pattern import Fill
from tests.lab.volumes import KINDS, Volume

MIB = 1 << 20
PAIRS = (('file', 'file'), ('file', 'rbd'), ('nfs', 'rbd'), ('rbd', 'iscsi'), ('iscsi', 'nfs'))
#: What share of the volume holds data; the rest was never written.
CONTENTS = {'full': 1.0, 'half': 0.5, 'nearly empty': 1 / 64}
DEV = 'vdb'
_AFFECT_LIVE = 1
#: Seconds that an idle writer is watched for the figures that a copy's are held against.
_IDLE_S = 5.0


@dataclass(frozen=True)
class Case:
    """What is the same for all contenders of a round."""

    source: str
    destination: str
    content: str
    writing: bool
    size: int

    def __str__(self) -> str:
        guest = 'guest writes' if self.writing else 'guest idle'
        return f'{self.source} to {self.destination}, {self.content}, {guest}'


@dataclass
class Sample:
    """One copy by one contender.

    :ivar seconds: what its user waits
    :ivar allocated: bytes that the destination takes of its storage afterwards
    :ivar longest_us: the longest write of the guest during it
    :ivar p999_us: what 99.9 % of the writes did not exceed
    :ivar idle_p999_us: the same, before the copy
    :ivar writes: how many were acknowledged during it
    """

    case: Case
    contender: str
    round: int
    seconds: float
    allocated: int
    request_s: float | None = None
    pivot_s: float | None = None
    longest_us: int = 0
    p999_us: int = 0
    idle_p999_us: int = 0
    writes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class Bench:
    """Runs cases in rounds; in each round all contenders take turns, each round another first.

    :ivar samples: what was measured so far
    """

    lab: Lab
    contenders: Sequence[type[Contender]] = CONTENDERS
    samples: list[Sample] = field(default_factory=list)

    def run(self, cases: Sequence[Case], rounds: int) -> list[Sample]:
        """Measure all cases. A copy that fails ends the run."""
        ways = [make(self.lab) for make in self.contenders]
        with self._guest() as guest:
            for number in range(rounds):
                for case in cases:
                    turn = ways[number % len(ways) :] + ways[: number % len(ways)]
                    for way in turn:
                        if case.writing and not way.moves_guest:
                            continue
                        sample = self._measure(guest, case, way, number)
                        self.samples.append(sample)
                        print(f'{case}: {way.name} {sample.seconds:.2f} s', flush=True)
        return self.samples

    @contextlib.contextmanager
    def _guest(self) -> Iterator[Guest]:
        """A guest with a disk to boot with, to which the measured disks are plugged."""
        first = KINDS['file'](self.lab).create(16 * MIB)
        name = f'bench-{os.getpid()}'
        with first, Guest(self.lab, Domain(name, [first.disk_xml('vda')])) as guest:
            yield guest.start()

    def _measure(self, guest: Guest, case: Case, way: Contender, number: int) -> Sample:
        with (
            self._volume(case.source, case.size) as source,
            self._volume(case.destination, case.size) as destination,
        ):
            length = max(MIB, int(case.size * CONTENTS[case.content]))
            source.write(Fill(seed=number + 1, length=length), length)
            if not way.moves_guest:
                took = way.copy(guest, DEV, source, destination)
                return Sample(case, way.name, number, took.seconds, destination.allocated())
            with self._plugged(guest, source):
                idle = self._begin(guest) if case.writing else 0
                took = way.copy(guest, DEV, source, destination)
                latencies = guest.latencies() if case.writing else {}
                stat = guest.stat() if case.writing else None
                if case.writing:
                    guest.stop_writers()
                _require_on(guest, destination)
                return Sample(
                    case,
                    way.name,
                    number,
                    took.seconds,
                    destination.allocated(),
                    took.request_s,
                    took.pivot_s,
                    stat.longest_us if stat else 0,
                    percentile_us(latencies, 0.999),
                    idle,
                    sum(latencies.values()),
                )

    def _volume(self, kind: str, size: int) -> Volume:
        # qemu-img has no secrets of libvirt's: the key has to come with the volume.
        options = {'give_keyring': True} if kind == 'rbd' else {}
        return KINDS[kind](self.lab, **options).create(size)

    @staticmethod
    def _begin(guest: Guest) -> int:
        """Let the guest write, and return its 99.9th percentile while nothing else happens."""
        guest.start_writers(DEV, writers=2, blocks=256, delay_us=2000)
        guest.wait_acked(20)
        guest.reset()
        end = time.monotonic() + _IDLE_S
        wait_until(lambda: time.monotonic() >= end, _IDLE_S * 2, 'the guest writes undisturbed')
        idle = percentile_us(guest.latencies(), 0.999)
        guest.reset()
        return idle

    @staticmethod
    @contextlib.contextmanager
    def _plugged(guest: Guest, source: Volume) -> Iterator[None]:
        guest.domain.attachDeviceFlags(source.disk_xml(DEV), _AFFECT_LIVE | 2)
        wait_until(lambda: _size(guest) == source.size, 30, f'{DEV} appears')
        try:
            yield
        finally:
            guest.domain.detachDeviceFlags(_disk_of(guest), _AFFECT_LIVE | 2)
            wait_until(lambda: f"dev='{DEV}'" not in guest.domain.XMLDesc(0), 60, f'{DEV} goes')


def _size(guest: Guest) -> int:
    try:
        return guest.size(DEV)
    except AgentError:
        return 0


def _disk_of(guest: Guest) -> str:
    from blockmirror_driver.xml import domain

    return domain.disk_xml(guest.domain.XMLDesc(0), DEV)


def _require_on(guest: Guest, volume: Volume) -> None:
    """Whoever copied has to have moved the guest, with no job left."""
    shown = _disk_of(guest)
    assert volume.name in shown, shown
    assert '<mirror' not in shown, shown
