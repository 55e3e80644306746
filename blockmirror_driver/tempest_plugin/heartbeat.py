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
"""What a guest prints on its console each second, and what it says about the guest's disks.

The guest's program is not part of this package; any may be used that writes numbered blocks and
prints such lines::

    heartbeat {"boot": "9f3c", "n": 7, "disks": {"vdb": {"serial": "0f5e...", "run": "41d7",
    "found": 210, "acked": 288, "errors": 0, "wrong": 0, "longest_ms": 3}}}

(on one line each). ``run`` is drawn when a disk is first written to and stored with the data, so
it moves along with a volume's content. The numbers of blocks go on from there for ever.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

_MARK = 'heartbeat '
#: virtio-blk tells no more of a serial (VIRTIO_BLK_ID_BYTES in linux/virtio_blk.h).
SERIAL_CHARS = 20


@dataclasses.dataclass(frozen=True, slots=True)
class DiskReport:
    """One disk, as the guest sees it.

    :ivar run: identity of the content
    :ivar found: number of the newest block when this guest first looked at the disk
    :ivar acked: number of the newest block whose write was acknowledged
    :ivar errors: reads and writes that failed
    :ivar wrong: blocks that were not what had been written
    :ivar longest_ms: the longest that a write has taken, in milliseconds
    """

    serial: str
    run: str
    found: int
    acked: int
    errors: int
    wrong: int
    longest_ms: int

    @property
    def faultless(self) -> bool:
        """Whether the guest saw neither an I/O error nor other data than it had written."""
        return self.errors == 0 and self.wrong == 0


@dataclasses.dataclass(frozen=True, slots=True)
class Heartbeat:
    """One line.

    :ivar boot: drawn at each start of the guest
    :ivar n: counts the lines of one boot
    :ivar disks: by the names that the guest's kernel gives them
    """

    boot: str
    n: int
    disks: Mapping[str, DiskReport]

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """The heartbeat that a line of a console holds; None for any other line, or half a one."""
        _, found, text = line.partition(_MARK)
        if not found:
            return None
        try:
            told: dict[str, Any] = json.loads(text)
            disks = {name: DiskReport(**one) for name, one in told['disks'].items()}
            return cls(told['boot'], told['n'], disks)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def is_later_than(self, other: Heartbeat) -> bool:
        """Whether it was printed after `other`, be it by the next boot of the guest."""
        return self.boot != other.boot or self.n > other.n

    def of_volume(self, volume_id: str) -> DiskReport | None:
        """The disk that is this volume, if the guest has it: Nova puts the id in its serial."""
        serial = volume_id[:SERIAL_CHARS]
        return next((one for one in self.disks.values() if one.serial == serial), None)


def newest(console: str) -> Heartbeat | None:
    """The last whole heartbeat of a console's output."""
    for line in reversed(console.splitlines()):
        found = Heartbeat.parse(line)
        if found is not None:
            return found
    return None
