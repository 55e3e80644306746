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
"""The faults, what each proves, and where it can't be made: pure data.

The states are those of :class:`SwapState`; a pair of a state and a fault is a cell unless the
fault says in prose why it is impossible there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from blockmirror_driver.swap.states import ENDED, SWITCHED, WITH_JOB, SwapState

S = SwapState
#: Backends that a destination is on, in turn, unless the fault wants another.
KINDS = ('rbd', 'iscsi', 'nfs', 'file')
#: Of these each has a server that can be stopped.
SERVED = ('iscsi', 'nfs', 'rbd')
#: A volume behind a server that fails when it is told to.
FAILING = 'failing'
#: Seconds for which the guest may stand still while a destination that is not its own hangs.
STALL_BOUND = 5.0
#: Between a probe and the open, and between it and the pivot, a moment remains in which a
#: destination that begins to hang takes the guest with it. The process stands still there.
WINDOWS = frozenset({S.PLANNED, S.PREPARED, S.PIVOTING})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    :ivar what: what happens, for the documentation
    :ivar promise: the one that a cell proves first
    :ivar to: the destination's backends, in turn
    :ivar source: the source's backend; empty for any that the fault leaves alone
    :ivar alone: it breaks what other guests need
    :ivar lasts: seconds after which it is mended, at the latest when our process has ended
    :ivar bites: seconds that our process stands still after the strike, where it does: long enough
        that what was READY has to be asked again, see ``swap/gate.py``
    :ivar answers: the guest must not stall, and the command has to answer meanwhile
    :ivar impossible: why it can't be made in a state
    """

    name: str
    what: str
    promise: str
    to: tuple[str, ...] = KINDS
    source: str = ''
    alone: bool = False
    lasts: float = 2.0
    bites: float = 0.0
    answers: bool = False
    impossible: Mapping[SwapState, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault in one state; ``number`` is its place in the whole matrix."""

    number: int
    state: SwapState
    fault: Fault

    @property
    def name(self) -> str:
        """``STATE/FAULT``."""
        return f'{self.state.value}/{self.fault.name}'

    @property
    def to(self) -> tuple[str, ...]:
        """The destination's backends, the one that is this cell's turn first."""
        turn = self.number % len(self.fault.to)
        return self.fault.to[turn:] + self.fault.to[:turn]

    def stall_bound(self, lasted: float) -> float:
        """Seconds for which the guest may stand still; its own disk's are not ours.

        :param lasted: seconds from the strike until it was mended
        """
        if self.state in SWITCHED:
            return float('inf')
        return STALL_BOUND + (lasted if self.state in WINDOWS else 0)


def _why(reason: str, states: Iterable[SwapState]) -> dict[SwapState, str]:
    return dict.fromkeys(sorted(states, key=list(SwapState).index), reason)


_NO_JOB = _why('There is no block job of ours that anybody could end.', set(S) - WITH_JOB)
_NOT_OPEN = _why(
    'Nobody has the destination open, so there is no client that could be locked out.',
    {S.PLANNED, S.PREPARED, S.REVERTED, S.FINISHED, S.UNKNOWN},
)
_NO_SECRET = {
    S.PLANNED: 'The secret is not defined before the next state.',
    **_why('The secret is gone by then.', ENDED - SWITCHED),
}

FAULTS = (
    Fault('killed-before', 'our process is killed right before the state is written', 'P6'),
    Fault('killed-after', 'our process is killed right after the state is written', 'P6'),
    Fault('libvirtd-killed', 'libvirtd is killed, and started again', 'P6', alone=True),
    Fault('libvirtd-stopped', 'libvirtd hangs, and goes on', 'P2', alone=True, lasts=4.0),
    Fault('qemu-killed', 'QEMU is killed', 'P1'),
    Fault('guest-rebooted', 'the guest is reset', 'P2'),
    Fault('guest-shut-down', 'the guest powers off', 'P1'),
    Fault('guest-paused', 'the guest is paused, and resumed', 'P2'),
    Fault('guest-destroyed', 'the guest is destroyed', 'P1'),
    Fault(
        'destination-killed', "the destination's server is killed, and started again", 'P9',
        SERVED, alone=True, lasts=8.0, bites=2.0, answers=True,
    ),
    Fault(
        'destination-hung', "the destination's server hangs, and goes on", 'P9',
        SERVED, alone=True, lasts=8.0, bites=2.0, answers=True,
    ),
    Fault(
        'destination-cut-off', "the link to the destination's server is down, and up again", 'P9',
        SERVED, source='file', alone=True, lasts=8.0, bites=2.0, answers=True,
    ),
    Fault(
        'destination-full', 'writes at some places of the destination fail: no space left', 'P3',
        (FAILING,), lasts=4.0, bites=1.5,
    ),
    Fault(
        'destination-failing', 'writes at some places of the destination fail: I/O error', 'P3',
        (FAILING,), lasts=4.0, bites=1.5,
    ),
    Fault(
        'source-failing', 'reads at some places of the source fail: I/O error', 'P3',
        source=FAILING, lasts=4.0, bites=1.5,
    ),
    Fault(
        'osd-stopped', 'the OSD of the Ceph cluster hangs for longer than we wait', 'P9',
        ('rbd',), alone=True, lasts=14.0, bites=2.0, answers=True,
    ),
    Fault(
        'client-blocklisted', "Ceph locks out the client that has the destination open", 'P3',
        ('rbd',), bites=1.0, impossible=_NOT_OPEN,
    ),
    Fault(
        'key-revoked', "the cephx user of the destination is removed, and made again", 'P3',
        ('rbd',), alone=True,
    ),
    Fault(
        'target-removed', 'the iSCSI target is removed, and made again', 'P3',
        ('iscsi',), alone=True, lasts=8.0, bites=2.0, answers=True,
    ),
    Fault('chap-changed', 'the iSCSI target wants another name and password', 'P3', ('iscsi',)),
    Fault(
        'nfs-stopped', 'the NFS server hangs, and goes on', 'P9',
        ('nfs',), alone=True, lasts=8.0, bites=2.0, answers=True,
    ),
    Fault(
        'export-gone', 'the NFS server comes back without the export, later with it', 'P3',
        ('nfs',), alone=True, lasts=8.0, bites=2.0, answers=True,
    ),
    Fault('foreign-job', "another tool's job takes the disk (ours is aborted for it)", 'P4'),
    Fault('foreign-abort', 'another tool aborts our job', 'P3', impossible=_NO_JOB),
    Fault('foreign-pivot', 'another tool pivots our job', 'P2', impossible=_NO_JOB),
    Fault('domain-undefined', 'the domain is undefined; the guest goes on', 'P5'),
    Fault('domain-redefined', 'the stored domain names a third volume', 'P5'),
    Fault('events-lost', "no event of libvirt's reaches us from this state on", 'P5'),
    Fault('events-late', "libvirt's events come 3 s late from this state on", 'P5'),
    Fault('events-doubled', "libvirt's events come twice from this state on", 'P5'),
    Fault('journal-full', "the journal's disk is full", 'P6', alone=True, lasts=4.0),
    Fault('journal-deleted', 'the journal is deleted', 'P6', alone=True),
    Fault('clock-forward', 'the clock is set forward by a day', 'P2'),
    Fault('clock-back', 'the clock is set back by a day', 'P2'),
    Fault(
        'secret-undefined', "the destination's secret is undefined", 'P5',
        ('iscsi',), impossible=_NO_SECRET,
    ),
    Fault(
        'second-swap', 'a second swap of the disk, and a recovery of the first, are begun', 'P2',
        impossible=_why('The first is over, so that a second is just the next.', ENDED),
    ),
)  # fmt: skip


def cells() -> list[Cell]:
    """All cells that can be made, fault by fault."""
    pairs = ((state, fault) for fault in FAULTS for state in SwapState)
    return [
        Cell(number, state, fault)
        for number, (state, fault) in enumerate(pairs)
        if state not in fault.impossible
    ]
