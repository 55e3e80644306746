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
"""The plots of the report, by the names of their files."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from tests.bench import svg
from tests.bench.cases import (
    CONTENTS,
    LIMIT,
    MIB,
    NAMES,
    NOVA,
    OURS,
    RESIDENT,
    SPARSE,
    VIRSH,
    Case,
    Sample,
)
from tests.bench.goals import compared, slowed, values_of
from tests.bench.results import Results


def draw(results: Results) -> dict[str, str]:
    """All plots that something was measured for."""
    good = [one for one in results.samples if not one.error]
    drawn = {
        'bench-peers.svg': _ratios(
            good, 'Time of ours over that of a peer', [(OURS, VIRSH), (RESIDENT, NOVA)]
        ),
        'bench-limit.svg': _ratios(
            good,
            f'Time over that of {LIMIT}',
            [(VIRSH, LIMIT), (NOVA, LIMIT), (OURS, LIMIT), (RESIDENT, LIMIT)],
        ),
        'bench-request.svg': _switch(good),
        'bench-guest.svg': _guest(good),
        'bench-sizes.svg': _sizes(good),
        'bench-beside.svg': _beside(results),
    }
    return {name: drawing for name, drawing in drawn.items() if drawing}


def _short(case: Case) -> str:
    writes = ', guest writes' if case.writing else ''
    return f'{case.pair}, {case.content}{writes}'


def _ratios(samples: Sequence[Sample], title: str, pairs: Sequence[tuple[str, str]]) -> str:
    rows = []
    for case in dict.fromkeys(one.case for one in samples if one.case.content in CONTENTS):
        marks = []
        for ours, theirs in pairs:
            found = compared(samples, case, ours, theirs)
            if found:
                name = f'{ours} over {theirs}'
                marks.append(svg.Mark(name, found.median, found.low, found.high))
        if marks:
            rows.append((_short(case), marks))
    return svg.intervals(title, 'ratio, with its interval', rows) if rows else ''


def _switch(samples: Sequence[Sample]) -> str:
    series = {}
    for by in NAMES:
        known = sorted(
            1000 * one.request_s for one in samples if one.contender == by and one.request_s
        )
        if len(known) > 1:
            series[by] = [(ms, (at + 1) / len(known)) for at, ms in enumerate(known)]
    title = 'READY to the request for the pivot: share of the copies that took at most so long'
    return svg.lines(title, ('ms', 'share'), series, log=(True, False)) if series else ''


def _guest(samples: Sequence[Sample]) -> str:
    rows = []
    for case in dict.fromkeys(one.case for one in samples if one.case.writing):
        marks = []
        for by in NAMES:
            found = sorted(
                slowed(samples, one)
                for one in samples
                if (one.case, one.contender) == (case, by) and one.p999_us
            )
            if found:
                middle = statistics.median(found)
                marks.append(svg.Mark(by, middle, found[0], found[-1]))
        if marks:
            rows.append((_short(case), marks))
    title = "The guest's 99.9th percentile of write latency during the copy, over the idle one"
    return svg.intervals(title, 'ratio: median, least and greatest', rows) if rows else ''


def _sizes(samples: Sequence[Sample]) -> str:
    series = {}
    sparse = [one for one in samples if one.case.content == SPARSE]
    for pair in dict.fromkeys(one.case.pair for one in sparse):
        for by in (LIMIT, OURS):
            mine = [one for one in sparse if (one.case.pair, one.contender) == (pair, by)]
            sizes = sorted({one.case.size for one in mine})
            points = [
                (
                    size / MIB / 1024,
                    statistics.median(one.seconds for one in mine if one.case.size == size),
                )
                for size in sizes
            ]
            if len(points) > 1:
                series[f'{pair}, {by}'] = points
    title = 'Volumes with 16 MiB of data: seconds by size'
    return svg.lines(title, ('GiB', 's'), series, log=(True, True)) if series else ''


def _beside(results: Results) -> str:
    counts = sorted({one['swaps'] for one in results.beside})
    if len(counts) < 2:
        return ''
    series = {}
    for name, key, factor in (
        ('threads', 'threads', 1.0),
        ('memory, MiB', 'rss_kib', 1 / 1024),
        ('CPU, % of a core', 'cpu_percent', 1.0),
        ('READY until noticed, ms', 'latency_ms', 1.0),
    ):
        found = [(count, values_of(results.beside, count, key, factor)) for count in counts]
        points = [(float(count), statistics.median(known)) for count, known in found if known]
        if points:
            series[name] = points
    return svg.lines('Swaps side by side in one process', ('swaps', ''), series, log=(True, False))
