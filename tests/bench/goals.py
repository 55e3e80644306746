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
"""The goals, and whether the figures say that they are met."""

from __future__ import annotations

import enum
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.cases import (
    BANDWIDTH,
    DIRECT,
    GENTLE,
    LIMIT,
    LIMITED,
    MIB,
    NOVA,
    OURS,
    RESIDENT,
    SPARSE,
    VIRSH,
    Case,
    Sample,
    paired,
)
from tests.bench.figures import Interval, interval
from tests.bench.results import Results

#: Ours and theirs: a command against a command, a call in a process that runs against another.
RACES = ((OURS, VIRSH), (RESIDENT, NOVA))
#: Bytes from which on a full volume is to be copied close to the limit.
_LARGE = 4096 * MIB


class Verdict(enum.Enum):
    """What an interval says of a goal."""

    MET = 'met'
    """All of it is on the good side."""

    NOT_MET = 'not met'
    """All of it is on the other."""

    NOT_TOLD = 'not told'
    """It lies on both sides, or there were too few values for one."""


@dataclass(frozen=True)
class Judged:
    """A goal for one case, and what was found.

    :ivar figure: in `unit`
    :ivar bound: the figure is to be at most this
    """

    goal: str
    of: str
    figure: Interval
    bound: float
    unit: str = ''

    @property
    def verdict(self) -> Verdict:
        """Whether the interval says that it is met."""
        if not self.figure.sure:
            return Verdict.NOT_TOLD
        if self.figure.high <= self.bound:
            return Verdict.MET
        return Verdict.NOT_MET if self.figure.low > self.bound else Verdict.NOT_TOLD


def judge(results: Results) -> list[Judged]:
    """Hold all results against the goals; those that nothing was measured for are left out."""
    return [
        *_times(results.samples),
        *_pivots(results.samples),
        *_speeds(results.samples),
        *_volumes(results.samples),
        *_guests(results.samples),
        *_starts(results.starts),
        *_beside(results.beside),
    ]


def _cases(samples: Sequence[Sample]) -> list[Case]:
    return list(dict.fromkeys(one.case for one in samples))


def _seconds(sample: Sample) -> float:
    return sample.seconds


def compared(
    samples: Sequence[Sample],
    case: Case,
    ours: str,
    theirs: str,
    of: Callable[[Sample], float] = _seconds,
) -> Interval | None:
    """Our seconds, or what else counts, over theirs in the same rounds; None if there was none."""
    return _ratios([one for one in samples if one.case == case], ours, theirs, of)


def _ratios(
    samples: Sequence[Sample], ours: str, theirs: str, of: Callable[[Sample], float] = _seconds
) -> Interval | None:
    found = [of(mine) / of(other) for mine, other in paired(samples, ours, theirs)]
    return interval(found) if found else None


def _times(samples: Sequence[Sample]) -> Iterator[Judged]:
    for case in _cases(samples):
        if case.content == 'full' and case.size >= _LARGE and not case.writing:
            for ours in (OURS, RESIDENT):
                if found := compared(samples, case, ours, LIMIT):
                    goal = f'{ours}: time within 5 % of the limit, from 4 GiB on'
                    yield Judged(goal, str(case), found, 1.05)
                if found := compared(samples, case, ours, DIRECT):
                    goal = f'{ours}: time within 5 % of the limit for a source that is not cached'
                    yield Judged(goal, str(case), found, 1.05)
    yield from _races(samples)


def _races(samples: Sequence[Sample]) -> Iterator[Judged]:
    for ours, theirs in RACES:
        goal = f'{ours}: not slower than {theirs}'
        for case in _cases(samples):
            if found := compared(samples, case, ours, theirs):
                yield Judged(goal, str(case), found, 1.0)
        for size in sorted({one.size for one in _cases(samples)}):
            if found := over_all(samples, 'full', size, ours, theirs):
                yield Judged(goal, f'all full ones of {size // MIB} MiB', found, 1.0)


def over_all(
    samples: Sequence[Sample], content: str, size: int, ours: str, theirs: str
) -> Interval | None:
    """Our seconds over theirs, of all pairs together, where the guest is idle."""
    alike = (content, size, False)
    together = [
        one for one in samples if (one.case.content, one.case.size, one.case.writing) == alike
    ]
    return _ratios(together, ours, theirs)


def _pivots(samples: Sequence[Sample]) -> Iterator[Judged]:
    for ours in (OURS, RESIDENT):
        known = [one.request_s for one in samples if one.contender == ours and one.request_s]
        if known:
            found = interval(known).times(1000)
            yield Judged(f'{ours}: READY to the request for the pivot', 'all', found, 5.0, 'ms')
    for case in _cases(samples):
        pairs = paired([one for one in samples if one.case == case], OURS, VIRSH)
        found_ratios = [
            mine.pivot_s / other.pivot_s for mine, other in pairs if mine.pivot_s and other.pivot_s
        ]
        if found_ratios and case.content == 'full':
            goal = f'{OURS}: the pivot itself takes no longer than that of {VIRSH}'
            yield Judged(goal, str(case), interval(found_ratios), 1.0)


def _speeds(samples: Sequence[Sample]) -> Iterator[Judged]:
    """A limit is a limit, and what is said of the time that is left is true."""
    for case in _cases(samples):
        good = [one for one in samples if one.case == case and not one.error]
        limited = [one.copy_s for one in good if one.contender == LIMITED and one.copy_s]
        if limited:
            off = [abs(case.size / seconds / BANDWIDTH - 1) * 100 for seconds in limited]
            yield Judged(f'{LIMITED}: off the limit', str(case), interval(off), 5.0, '%')
        told = [one.eta for one in good if one.eta]
        if told:
            off = [abs(eta - 1) * 100 for eta in told]
            goal = 'the time that is left, told after a fifth, is off'
            yield Judged(goal, str(case), interval(off), 15.0, '%')


def _volumes(samples: Sequence[Sample]) -> Iterator[Judged]:
    """Thin where the source is; what reads and writes grows with the data."""
    for case in _cases(samples):
        mine = [
            one for one in samples if one.case == case and one.contender == OURS and not one.error
        ]
        if case.content in ('nearly empty', 'half', 'allocated zeros', SPARSE) and mine:
            thin = [one.allocated / max(one.source_allocated, MIB) for one in mine]
            goal = f'{OURS}: destination as thin as the source'
            yield Judged(goal, str(case), interval(thin), 1.05)
        if case.content in ('nearly empty', 'allocated zeros'):
            full = Case(case.source, case.destination, 'full', case.writing, case.size)
            found = [
                one.seconds / other.seconds
                for one in mine
                for other in samples
                if (other.case, other.round, other.contender) == (full, one.round, OURS)
                and not other.error
            ]
            if found:
                goal = f'{OURS}: an empty volume takes less time than a full one'
                yield Judged(goal, str(case), interval(found), 1.0)


def _guests(samples: Sequence[Sample]) -> Iterator[Judged]:
    for case in _cases(samples):
        for by in (OURS, GENTLE):
            mine = [
                one
                for one in samples
                if one.case == case and one.contender == by and one.writes and not one.error
            ]
            if mine:
                slower = [slowed(samples, one) for one in mine]
                goal = f"{by}: the guest's p99.9 under twice the idle one"
                yield Judged(goal, str(case), interval(slower), 2.0)
                # The stall at the pivot is one of these writes, so it is no longer.
                over = [(one.longest_us - one.idle_p999_us) / 1000 for one in mine]
                goal = f"{by}: the guest's longest write over its idle p99.9, the pivot included"
                yield Judged(goal, str(case), interval(over), 100.0, 'ms')


def slowed(samples: Sequence[Sample], sample: Sample) -> float:
    """The 99.9th percentile of a guest's writes during the copy, over the idle one.

    That is of all contenders of its round: each was watched too shortly to tell a rare write.
    """
    idle = statistics.median(
        one.idle_p999_us for one in samples if (one.case, one.round) == (sample.case, sample.round)
    )
    return sample.p999_us / max(1.0, idle)


def _starts(starts: Sequence[dict[str, Any]]) -> Iterator[Judged]:
    for what, goal, bound in (
        ('help_s', 'blockmirror --help', 400.0),
        ('import_s', 'import blockmirror_driver, over its dependencies', 30.0),
        ('names_s', 'all public names of it, over its dependencies', 30.0),
    ):
        if known := [one[what] for one in starts if what in one]:
            yield Judged(goal, 'start-up', interval(known).times(1000), bound, 'ms')


def _beside(beside: Sequence[dict[str, Any]]) -> Iterator[Judged]:
    # Each swap is waited for in a thread of whoever asked for it.
    single = [value - 1 for one in beside if one['swaps'] == 1 for value in one['threads']]
    for count in sorted({one['swaps'] for one in beside}):
        for goal, key, factor, bound, unit in (
            ('CPU of all swaps together', 'cpu_percent', 1.0, 1.0, '% of a core'),
            ('memory while they copy', 'rss_kib', 1 / 1024, 80.0, 'MiB'),
            ('READY until it is noticed', 'latency_ms', 1.0, 5.0, 'ms'),
        ):
            if known := values_of(beside, count, key, factor):
                yield Judged(goal, f'{count} side by side', interval(known), bound, unit)
        threads = values_of(beside, count, 'threads')
        if single and threads and count > 1:
            more = interval([one - count - max(single) for one in threads])
            goal = 'threads besides those that wait for a swap, over those of one swap'
            yield Judged(goal, f'{count} side by side', more, 0.0)


def values_of(
    beside: Sequence[dict[str, Any]], count: int, key: str, factor: float = 1.0
) -> list[float]:
    """All that was seen of so many swaps side by side, in all runs."""
    return [value * factor for one in beside if one['swaps'] == count for value in one[key]]
