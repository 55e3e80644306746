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
"""What is measured: pairs of backends, what is on the volume, by whom, and one copy's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MIB = 1 << 20
PAIRS = (('file', 'file'), ('file', 'rbd'), ('nfs', 'rbd'), ('rbd', 'iscsi'), ('iscsi', 'nfs'))
#: Of a copy with a limit, bytes/s.
BANDWIDTH = 64 * MIB
#: What share of the volume holds data; the rest was never written.
CONTENTS = {'full': 1.0, 'half': 0.5, 'nearly empty': 1 / 64, 'allocated zeros': 0.0}
#: The content of volumes of several sizes, which all hold the same data.
SPARSE = '16 MiB of data'

#: Contenders by name.
LIMIT, DIRECT, VIRSH, NOVA = 'qemu-img', 'qemu-img -T none', 'virsh', 'Nova 34'
CP, DD = 'cp', 'dd'
OURS, RESIDENT, GENTLE = 'blockmirror', 'resident', 'latency target'
LIMITED = f'at {BANDWIDTH // MIB} MiB/s'
#: In the order of the tables.
NAMES = (LIMIT, DIRECT, CP, DD, VIRSH, NOVA, OURS, RESIDENT, GENTLE)


@dataclass(frozen=True)
class Case:
    """What is the same for all contenders of a round.

    :ivar size: bytes
    """

    source: str
    destination: str
    content: str
    writing: bool
    size: int

    def __str__(self) -> str:
        guest = 'guest writes' if self.writing else 'guest idle'
        return f'{self.pair}, {self.content}, {guest}, {self.size // MIB} MiB'

    @property
    def pair(self) -> str:
        """Both backends."""
        return f'{self.source} to {self.destination}'

    @property
    def data(self) -> int:
        """Bytes of the volume that are not zero."""
        if self.content == SPARSE:
            return 16 * MIB
        share = CONTENTS[self.content]
        return max(MIB, int(self.size * share)) if share else 0


@dataclass
class Sample:
    """One copy by one contender. What a contender does not tell is None.

    :ivar seconds: what its user waits
    :ivar allocated: bytes that the destination takes of its storage afterwards
    :ivar source_allocated: the same of the source
    :ivar before_s: from the start of the command, or of the call, to that of the copy
    :ivar copy_s: from the start of the copy to QEMU's READY
    :ivar request_s: from QEMU's READY to the request for the pivot
    :ivar pivot_s: from that request to QEMU's COMPLETED
    :ivar longest_us: the longest write of the guest during it
    :ivar p999_us: what 99.9 % of the writes did not exceed
    :ivar idle_p999_us: the same, before the copy
    :ivar writes: how many were acknowledged during it
    :ivar idle_writes_s: how many each second before it
    :ivar read: bytes that the source's server read
    :ivar written: bytes that the destination's server was given to write
    :ivar cpu_s: CPU time of the process that drives it
    :ivar peak_kib: the most memory that this process took
    :ivar load: CPU seconds of all that took part, by the names of :mod:`tests.bench.machine`
    :ivar eta: what it said after a fifth that the rest takes, over what it took
    :ivar error: what went wrong; then nothing else is true
    """

    case: Case
    contender: str
    round: int
    seconds: float = 0.0
    allocated: int = 0
    source_allocated: int = 0
    before_s: float | None = None
    copy_s: float | None = None
    request_s: float | None = None
    pivot_s: float | None = None
    longest_us: int = 0
    p999_us: int = 0
    idle_p999_us: int = 0
    writes: int = 0
    idle_writes_s: float = 0.0
    read: int | None = None
    written: int | None = None
    cpu_s: float | None = None
    peak_kib: int | None = None
    load: dict[str, float] = field(default_factory=dict)
    eta: float | None = None
    error: str = ''

    @property
    def key(self) -> tuple[Case, str, int]:
        """What no other sample of a run has."""
        return self.case, self.contender, self.round

    def to_json(self) -> dict[str, Any]:
        """Plain values, without those that say nothing."""
        told = {name: value for name, value in asdict(self).items() if value not in (None, '', {})}
        return {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in told.items()
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Sample:
        """What :meth:`to_json` gave; what it does not know is left out."""
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in told.items() if name in known}
        return cls(**{**values, 'case': Case(**told['case'])})


def paired(samples: Iterable[Sample], ours: str, theirs: str) -> list[tuple[Sample, Sample]]:
    """What both did in the same round of the same case, in the order of the rounds."""
    good = [one for one in samples if not one.error]
    others = {(one.case, one.round): one for one in good if one.contender == theirs}
    mine = sorted((one for one in good if one.contender == ours), key=lambda one: one.round)
    pairs = ((one, others.get((one.case, one.round))) for one in mine)
    return [(one, other) for one, other in pairs if other is not None]
