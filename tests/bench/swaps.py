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
"""Copies, each contender in its turn, on a guest of the lab."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from blockmirror_driver.xml import domain as xml_domain
from tests.bench import machine, measured
from tests.bench.cases import MIB, Case, Sample
from tests.bench.contenders import CONTENDERS, Contender, Limit
from tests.bench.monitor_log import watched
from tests.lab.deadline import wait_until
from tests.lab.guest.agent import percentile_us
from tests.lab.guest.console import AgentError
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.layout import LabError
from tests.lab.pattern import Fill
from tests.lab.process import run
from tests.lab.volumes import KINDS, BackedVolume, RbdVolume, Volume

DEV = 'vdb'
_AFFECT_LIVE, _AFFECT_CONFIG = 1, 2
#: Seconds that an idle writer is watched for the figures that a copy's are held against.
_IDLE_S = 10.0
_ZEROS = bytes(4 * MIB)


class Swaps:
    """Runs cases in rounds; in each round all contenders take turns, in an order of its own.

    :param keep: called with each sample as soon as there is one
    """

    def __init__(
        self,
        lab: Lab,
        keep: Callable[[Sample], None],
        contenders: Sequence[type[Contender]] = CONTENDERS,
    ) -> None:
        self._lab = lab
        self._keep = keep
        self._ways = [make(lab) for make in contenders]
        self._first = Limit(lab)
        self._guest: Guest | None = None
        self._boot = contextlib.ExitStack()
        self._count = 0

    def run(
        self,
        cases: Sequence[Case],
        rounds: int,
        *,
        done: Collection[tuple[Case, str, int]] = (),
        until: float = float('inf'),
    ) -> None:
        """Measure all cases. A copy that fails is a sample too, and the guest is made anew.

        :param done: keys of samples that are there already
        :param until: monotonic seconds after which no further case is begun
        """
        try:
            for number in range(rounds):
                for case in cases:
                    if time.monotonic() >= until:
                        return
                    ways = [
                        way
                        for way in self._ways
                        if way.fits(case) and (case, way.name, number) not in done
                    ]
                    # Whoever comes next may find what the one before has left behind.
                    random.Random(f'{case} {number}').shuffle(ways)
                    self._case(case, number, ways)
        finally:
            self._end_guest()
            for way in self._ways:
                way.close()

    def _case(self, case: Case, number: int, ways: Sequence[Contender]) -> None:
        if not ways:
            return
        with self._volume(case.source, case.size) as source:
            fill(source, case, number)
            self._warm_up(case, source)
            for way in ways:
                sample = Sample(case, way.name, number)
                try:
                    self._measure(sample, way, source)
                except LabError as error:
                    _end_if_told(error)
                    sample.error = str(error)
                    self._end_guest()
                self._keep(sample)

    def _warm_up(self, case: Case, source: Volume) -> None:
        """Copy once for nobody: the first copy may take twice as long as those that follow."""
        with self._volume(case.destination, case.size) as destination:
            os.sync()
            try:
                self._first.copy(self._running, DEV, source, destination)
            except LabError as error:
                _end_if_told(error)  # what else there is of it a sample tells

    def _measure(self, sample: Sample, way: Contender, source: Volume) -> None:
        case = sample.case
        with self._volume(case.destination, case.size) as destination:
            # What was written before is not to be flushed while this is timed.
            os.sync()
            if way.moves_guest:
                with self._plugged(source) as guest:
                    self._move(sample, way, guest, source, destination)
            else:
                self._copy(sample, way, self._running, source, destination)
            sample.allocated = destination.allocated()
            sample.source_allocated = source.allocated()

    def _move(
        self, sample: Sample, way: Contender, guest: Guest, source: Volume, destination: Volume
    ) -> None:
        writing = sample.case.writing
        if writing:
            sample.idle_p999_us, sample.idle_writes_s, way.idle_write_s = _begin(guest)
        with watched(self._lab.libvirtd.debug_log) as seen:
            begun = self._copy(sample, way, guest, source, destination)
        sample.before_s = None if seen.called is None else seen.called - begun
        sample.copy_s = seen.copy_s
        sample.request_s, sample.pivot_s = seen.request_s, seen.pivot_s
        if writing:
            latencies = guest.latencies()
            sample.longest_us = guest.stat().longest_us
            sample.p999_us = percentile_us(latencies, 0.999)
            sample.writes = sum(latencies.values())
            guest.stop_writers()
        _require_on(guest, destination)

    def _copy(
        self, sample: Sample, way: Contender, guest: Guest, source: Volume, destination: Volume
    ) -> float:
        """Measure one copy; returns when it began, seconds since the epoch."""
        qemu = measured.qemu_of(guest.name) if way.moves_guest else None
        kinds = (source.kind, destination.kind)
        before = [measured.served(self._lab, kind, qemu) for kind in kinds]
        load = machine.Load(self._lab, kinds, qemu)
        begun = time.time()
        took = way.copy(guest, DEV, source, destination)
        sample.load = load.taken()
        after = [measured.served(self._lab, kind, qemu) for kind in kinds]
        sample.seconds, sample.cpu_s, sample.peak_kib = took.seconds, took.cpu_s, took.peak_kib
        sample.eta = took.eta
        if before[0] and after[0]:
            sample.read = (after[0] - before[0]).read
        if before[1] and after[1]:
            sample.written = (after[1] - before[1]).written
        return begun

    @contextlib.contextmanager
    def _volume(self, kind: str, size: int) -> Iterator[Volume]:
        # qemu-img has no secrets of libvirt's: the key has to come with the volume.
        options = {'give_keyring': True} if kind == 'rbd' else {}
        with KINDS[kind](self._lab, **options).create(size) as volume:
            yield volume
            if isinstance(volume, BackedVolume):
                # A server that keeps it open would keep its space, too.
                os.truncate(volume.path, 0)

    @property
    def _running(self) -> Guest:
        """A guest with a disk to boot with, to which the measured disks are plugged."""
        if self._guest is None:
            self._count += 1
            disk = self._boot.enter_context(KINDS['file'](self._lab).create(16 * MIB))
            name = f'bench-{os.getpid()}-{self._count}'
            self._guest = Guest(self._lab, Domain(name, [disk.disk_xml('vda')]))
            self._guest.start()
        return self._guest

    def _end_guest(self) -> None:
        if self._guest is not None:
            self._guest.destroy()
            self._guest = None
        self._boot.close()

    @contextlib.contextmanager
    def _plugged(self, source: Volume) -> Iterator[Guest]:
        guest = self._running
        flags = _AFFECT_LIVE | _AFFECT_CONFIG
        guest.domain.attachDeviceFlags(source.disk_xml(DEV), flags)
        wait_until(lambda: _size(guest) == source.size, 30, f'{DEV} appears')
        yield guest
        # After a failure the guest is ended instead.
        guest.domain.detachDeviceFlags(_disk_of(guest), flags)
        wait_until(lambda: f"dev='{DEV}'" not in guest.domain.XMLDesc(0), 60, f'{DEV} goes')


def _end_if_told(error: BaseException) -> None:
    """What fails while an interrupted copy is cleaned up must not hide that it was interrupted."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SystemExit | KeyboardInterrupt):
            raise cause
        cause = cause.__context__


def fill(volume: Volume, case: Case, number: int) -> None:
    """Put what the case says on a volume that is all zeros and sparse."""
    if case.content != 'allocated zeros':
        volume.write(Fill(seed=number + 1, length=case.data), case.data)
        return
    if not isinstance(volume, RbdVolume):
        _write_zeros(volume.lab.layout.volumes / volume.kind / volume.name, 'r+b', case.size)
        return
    raw = volume.lab.layout.scratch / f'zeros-{volume.id}'
    _write_zeros(raw, 'xb', case.size)
    # Zeros as data, which the image's objects hold.
    words = ['-n', '-S', '0', '-f', 'raw', '-O', 'raw', str(raw)]
    run(['qemu-img', 'convert', *words, f'rbd:{volume.image}:id=admin'])
    raw.unlink()


def _write_zeros(path: Path, mode: str, size: int) -> None:
    with path.open(mode) as out:
        for _ in range(0, size, len(_ZEROS)):
            out.write(_ZEROS)


def _begin(guest: Guest) -> tuple[int, float, float]:
    """Let the guest write.

    Return its 99.9th percentile (us), how many writes a second, and what QEMU needs for one (s).
    """
    guest.start_writers(DEV, writers=2, blocks=256, delay_us=2000)
    guest.wait_acked(20)
    guest.reset()
    before = _written(guest)
    begun = time.monotonic()
    end = begun + _IDLE_S
    wait_until(lambda: time.monotonic() >= end, _IDLE_S * 2, 'the guest writes undisturbed')
    latencies = guest.latencies()
    rate = sum(latencies.values()) / (time.monotonic() - begun)
    after = _written(guest)
    guest.reset()
    each_s = (after[1] - before[1]) / max(1, after[0] - before[0]) / 1e9
    return percentile_us(latencies, 0.999), rate, each_s


def _written(guest: Guest) -> tuple[int, int]:
    """How many writes QEMU has made, and the nanoseconds that they and their flushes took."""
    told = guest.domain.blockStatsFlags(DEV)
    return told['wr_operations'], told['wr_total_times'] + told['flush_total_times']


def _size(guest: Guest) -> int:
    try:
        return guest.size(DEV)
    except AgentError:
        return 0


def _disk_of(guest: Guest) -> str:
    return xml_domain.disk_xml(guest.domain.XMLDesc(0), DEV)


def _require_on(guest: Guest, volume: Volume) -> None:
    """Whoever copied has to have moved the guest, with no job left.

    :raise LabError: it has not
    """
    shown = _disk_of(guest)
    if volume.name not in shown or '<mirror' in shown:
        raise LabError('bench', f'the guest is not on {volume.name} alone')
