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
"""What a seed means: pure, so that a seed replays.

The moment of a blow is a time after the start of the command, so that what it hits may differ
from run to run; which swap, to where, with which options and which blow does not.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20
KINDS = ('rbd', 'iscsi', 'nfs', 'file')
STATES = ('prepared', 'copying', 'ready', 'pivoting', 'pivoted', 'verified', 'cleaned')
#: What befalls a swap, with its weight.
BLOWS = {
    'none': 3,
    'killed at a write of the journal': 5,
    'killed at any moment': 4,
    'interrupted': 2,
    'terminated': 2,
    'cancelled by another process': 2,
    'held, then pivoted': 1,
    'held, then cancelled': 1,
    'libvirtd killed': 3,
    'iscsi stopped': 2,
    'nfs stopped': 2,
    'osd stopped': 2,
    'mon stopped': 1,
    'guest destroyed': 1,
    'guest powered off': 1,
    'guest paused': 1,
    'another tool aborts': 1,
    'another tool pivots': 1,
}


@dataclass(frozen=True, slots=True)
class Move:
    """One swap and its blow.

    :ivar after: seconds from the start of the command to the blow
    :ivar lasts: seconds for which what was stopped stays so
    :ivar crash: where the process kills itself, for ``tests.functional.crashing``
    """

    number: int
    to: str
    blow: str
    after: float
    lasts: float
    crash: str
    options: Sequence[str]


def size(seed: str) -> int:
    """The size of a guest's disk in bytes: a multiple of 4 KiB, seldom of anything more."""
    return 4096 * random.Random(f'{seed}/size').randrange(17 * 256, 40 * 256)


def move(seed: str, number: int) -> Move:
    """The move with this number."""
    draw = random.Random(f'{seed}/{number}')
    blow = draw.choices(list(BLOWS), list(BLOWS.values()))[0]
    options = []
    if draw.random() < 0.6:
        options += ['--bandwidth', draw.choice(('24MiB', '48MiB', '96MiB'))]
    if draw.random() < 0.3:
        granularity = draw.choice(('4096', '65536', '1048576'))
        options += ['--granularity', granularity]
        if granularity == '1048576':
            # The guest dirties a whole MiB with each of its writes, faster than it is copied.
            options += draw.choice((['--synchronous-writes'], ['--timeout', '15']))
    if blow.startswith('held'):
        options.append('--hold')
    crash = f'{draw.choice(("before", "after"))}:{draw.choice(STATES)}'
    return Move(
        number=number,
        to=draw.choice(KINDS),
        blow=blow,
        after=round(draw.uniform(0.5, 5.0), 2),
        lasts=round(draw.uniform(0.2, 3.0), 2),
        crash=crash if blow == 'killed at a write of the journal' else '',
        options=tuple(options),
    )
