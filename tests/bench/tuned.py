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
"""The same swap with other settings of the copy, to find those that suit a backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.cases import LIMITED, MIB, NAMES
from tests.bench.contenders import Resident, Took
from tests.lab.guest.guest import Guest
from tests.lab.volumes import Volume


@dataclass(frozen=True)
class Setting:
    """What the copy is told.

    :ivar buffer: MiB in flight; QEMU moves a sixteenth of it by one request, 1 MiB at least
        (MAX_IN_FLIGHT and MAX_IO_BYTES, block/mirror.c)
    :ivar granularity: KiB; QEMU's default is 64 where an image tells no size of its clusters
    """

    buffer: int
    granularity: int

    def __str__(self) -> str:
        return f'{self.buffer} MiB, {self.granularity} KiB'

    @classmethod
    def parse(cls, text: str) -> Setting:
        """Read ``64:1024``."""
        buffer, granularity = map(int, text.split(':'))
        return cls(buffer, granularity)


#: What QEMU does when it is told nothing, and what is tried.
QEMU = Setting(16, 64)
SETTINGS = (QEMU, Setting(32, 64), Setting(128, 64), Setting(32, 1024))


def contender(setting: Setting) -> type[Resident]:
    """A swap in a process that runs already, with this setting."""

    class Tuned(Resident):
        name = str(setting)

        def copy(self, guest: Guest, dev: str, source: Volume, destination: Volume) -> Took:
            """Plan, copy, pivot, verify, clean up."""
            options = {
                'buf_size': setting.buffer * MIB,
                'granularity': setting.granularity * 1024,
            }
            return self.swap(guest, dev, destination, options)

    return Tuned


def settings_of(contenders: Sequence[str]) -> list[str]:
    """Those names that are none of the other contenders', in their order."""
    return [one for one in dict.fromkeys(contenders) if one not in (*NAMES, LIMITED)]
