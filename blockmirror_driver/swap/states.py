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
"""The states of a swap, what holds in each, and who leaves it.

A state is written to the journal *before* the step that it names, so that whoever finds the
journal after a crash knows what may have been under way. What really happened is then read
from the world (:mod:`blockmirror_driver.swap.reconcile`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from blockmirror_driver import exception


class SwapState(enum.Enum):
    """Where a swap is."""

    PLANNED = 'planned'
    """All checks passed. Nothing exists yet but the journal's row. The owner leaves it by
    defining secrets, or gives up."""

    PREPARED = 'prepared'
    """The destination's secrets may exist in libvirt and the domain may carry our mark. The
    guest is on the source and has no job of ours. The owner leaves it by starting the copy."""

    COPYING = 'copying'
    """The start of the block job has been asked for; it may run. The guest is on the source.
    Libvirt's events, a deadline or a cancel request leave it."""

    READY = 'ready'
    """Both sides are the same and each write goes to both. The guest is on the source."""

    HELD = 'held'
    """As READY, and the owner was told to wait. A request to pivot or to cancel leaves it."""

    PIVOTING = 'pivoting'
    """The pivot has been asked for. Which side the guest is on is decided by evidence alone:
    the live XML, ``<mirror>`` and the job."""

    PIVOTED = 'pivoted'
    """There is evidence of the switch: the guest is on the destination. From here on nothing
    goes back. The owner leaves it by verifying the outcome."""

    VERIFIED = 'verified'
    """Live and stored XML name the destination, the serial is the old one, no job is left.
    What the source needed may still be there."""

    CLEANED = 'cleaned'
    """The end of a swap: nothing of ours is left over but the secrets that the disk cites."""

    CANCELLING = 'cancelling'
    """The end of the job has been asked for, without a pivot. The guest is on the source. A
    destination that hangs can keep a swap here; recover takes it up again."""

    REVERTED = 'reverted'
    """The end of a swap that did not happen: the guest is on the source, the destination is
    let go and its secrets are gone."""

    FINISHED = 'finished'
    """The end of a copy that was asked for without a pivot: the destination is a consistent
    copy, and the guest is on the source."""

    UNKNOWN = 'unknown'
    """What the guest's disk is can't be told, or somebody else changed it. Both volumes are
    kept and nothing is touched until an operator decides."""


S = SwapState

#: States that nobody leaves.
ENDED = frozenset({S.CLEANED, S.REVERTED, S.FINISHED})

#: States in which a block job of ours may exist.
WITH_JOB = frozenset({S.COPYING, S.READY, S.HELD, S.PIVOTING, S.CANCELLING})

#: States after the point of no return.
SWITCHED = frozenset({S.PIVOTED, S.VERIFIED, S.CLEANED})

#: The allowed steps. Evidence found by recovery uses the same table.
TRANSITIONS: frozenset[tuple[SwapState, SwapState]] = frozenset(
    {
        (S.PLANNED, S.PREPARED),
        (S.PLANNED, S.REVERTED),
        (S.PREPARED, S.COPYING),
        (S.PREPARED, S.REVERTED),
        (S.PREPARED, S.UNKNOWN),
        (S.COPYING, S.READY),
        (S.COPYING, S.CANCELLING),
        (S.COPYING, S.REVERTED),
        (S.COPYING, S.PIVOTED),
        (S.COPYING, S.UNKNOWN),
        (S.READY, S.HELD),
        (S.READY, S.PIVOTING),
        (S.READY, S.CANCELLING),
        (S.READY, S.REVERTED),
        (S.READY, S.PIVOTED),
        (S.READY, S.UNKNOWN),
        (S.HELD, S.READY),
        (S.HELD, S.CANCELLING),
        (S.HELD, S.REVERTED),
        (S.HELD, S.PIVOTED),
        (S.HELD, S.UNKNOWN),
        (S.PIVOTING, S.PIVOTED),
        (S.PIVOTING, S.READY),
        (S.PIVOTING, S.REVERTED),
        (S.PIVOTING, S.UNKNOWN),
        (S.PIVOTED, S.VERIFIED),
        (S.PIVOTED, S.UNKNOWN),
        (S.VERIFIED, S.CLEANED),
        (S.CANCELLING, S.REVERTED),
        (S.CANCELLING, S.FINISHED),
        (S.CANCELLING, S.PIVOTED),
        (S.CANCELLING, S.UNKNOWN),
        (S.UNKNOWN, S.COPYING),
        (S.UNKNOWN, S.READY),
        (S.UNKNOWN, S.CANCELLING),
        (S.UNKNOWN, S.PIVOTED),
        (S.UNKNOWN, S.REVERTED),
    }
)

#: The exit codes that a command may end with when it leaves the swap in a state.
EXIT_CODES: Mapping[SwapState, tuple[int, ...]] = {
    S.CLEANED: (0,),
    S.FINISHED: (0,),
    S.PIVOTED: (exception.CleanupIncomplete.exit_code,),
    S.VERIFIED: (exception.CleanupIncomplete.exit_code,),
    S.UNKNOWN: (exception.StateUnknown.exit_code,),
    S.REVERTED: (
        exception.Refused.exit_code,
        exception.TimedOut.exit_code,
        exception.Cancelled.exit_code,
        exception.CopyFailed.exit_code,
    ),
    # The destination hangs: the abort has been asked for and has not ended yet.
    S.CANCELLING: (
        exception.TimedOut.exit_code,
        exception.Cancelled.exit_code,
        exception.CopyFailed.exit_code,
    ),
    # Left running on request (--async, or the second ^C).
    S.COPYING: (0, 130),
    S.READY: (0, 130),
    S.HELD: (0, 130),
}


def may_follow(old: SwapState, new: SwapState) -> bool:
    """Tell whether ``new`` may come right after ``old``; staying is always allowed."""
    return old is new or (old, new) in TRANSITIONS


def diagram() -> str:
    """Draw the transitions as a Graphviz graph, for the documentation."""
    lines = ['digraph swap {', '  rankdir=LR; node [shape=box, fontname="sans"];']
    lines += [f'  {state.value} [peripheries=2];' for state in SwapState if state in ENDED]
    pairs = sorted((old.value, new.value) for old, new in TRANSITIONS)
    lines += [f'  {old} -> {new};' for old, new in pairs]
    return '\n'.join([*lines, '}'])
