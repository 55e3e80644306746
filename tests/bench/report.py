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
"""What was found, as tables in reStructuredText and as plots."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.bench import machine, plots
from tests.bench.cases import (
    CONTENTS,
    DIRECT,
    LIMIT,
    MIB,
    NAMES,
    OURS,
    RESIDENT,
    SPARSE,
    VIRSH,
    Case,
    Sample,
)
from tests.bench.figures import interval, number, percentile
from tests.bench.goals import RACES, Judged, Verdict, compared, judge, over_all, values_of
from tests.bench.results import Results
from tests.bench.tuned import settings_of

#: The file that the records are written to.
RECORDS = 'bench.json'
#: Who is held against whom over all pairs, ours first, and on each.
_OVER_ALL = (*RACES, (RESIDENT, VIRSH))
_ON_EACH = (
    *RACES,
    (VIRSH, LIMIT),
    (OURS, LIMIT),
    (RESIDENT, LIMIT),
    (RESIDENT, DIRECT),
)
#: What is told of side by side runs: header, key, factor.
_BESIDE = (
    ('Threads', 'threads', 1.0),
    ('CPU, % of a core', 'cpu_percent', 1.0),
    ('Memory, MiB', 'rss_kib', 1 / 1024),
    ('READY until noticed, ms', 'latency_ms', 1.0),
)


def write(results: Results, folder: Path) -> None:
    """Write the records, and a file for each plot."""
    folder.mkdir(parents=True, exist_ok=True)
    results.save(folder / RECORDS)
    for name, drawing in plots.draw(results).items():
        (folder / name).write_text(drawing)


def text(results: Results) -> str:
    """All tables; a part that nothing was measured for is left out."""
    lines = [', '.join(f'{name} {value}' for name, value in results.about.items()) + '.', '']
    for title, told, header, rows in _tables(results):
        if rows:
            lines += [f'**{title}.** {told}', '', *_table(header, rows), '']
    failed = [one for one in results.samples if one.error]
    lines += [f'* Failed: {one.case}, {one.contender}: ``{one.error[:120]}``' for one in failed]
    return '\n'.join([*lines, ''])


Rows = list[list[str]]


def _tables(results: Results) -> Iterator[tuple[str, str, Sequence[str], Rows]]:
    good = [one for one in results.samples if not one.error]
    cases = list(dict.fromkeys(one.case for one in good))
    alike = [one for one in cases if one.content in CONTENTS]
    yield (
        'The goals',
        'In how many cases the interval says so; not told is one that lies on both sides.',
        ('Goal', 'At most', 'Met', 'Not met', 'Not told', 'Worst'),
        _goals(judge(results)),
    )
    yield (
        'Seconds',
        'The median of all rounds.',
        ('Copy', *NAMES, 'Rounds'),
        [_seconds(good, case) for case in alike],
    )
    yield (
        'Ratios of the time',
        'The median of the ratios of each round, with its interval.',
        ('Copy', *_told(_ON_EACH)),
        [_ratios(good, case) for case in alike],
    )
    yield (
        'Over all pairs',
        'The median of the ratios of all rounds, the guest being idle.',
        ('Volumes', *_told(_OVER_ALL)),
        [_over_all(good, *volumes) for volumes in _volumes(alike)],
    )
    yield (
        'The switch',
        'In milliseconds: READY to the request for the pivot, and that to its end.',
        ('By', 'Copies', 'Request', 'p95', 'Pivot', 'p95'),
        [row for by in NAMES if (row := _switch(good, by))],
    )
    yield (
        "The guest's writes",
        'In milliseconds, before the copy and during it; writes a second of those before it.',
        ('Copy', 'By', 'Idle p99.9', 'p99.9', 'Longest', 'Writes/s', 'Of idle'),
        [
            _guest(good, case, by)
            for case in cases
            for by in NAMES
            if case.writing and _of(good, case, by)
        ],
    )
    yield (
        'What the time goes to',
        'Seconds before the copy, from its start to READY, and after it; medians.',
        ('Copy', 'By', 'Before', 'Copy', 'After'),
        [row for case in alike for by in NAMES if (row := _spent(good, case, by))],
    )
    yield (
        'Whose time it is',
        'CPU seconds a GiB, and how many cores were busy, or waited for a disk.',
        ('Copy', 'By', 'Who copies', 'Source', 'Destination', 'All else', 'Busy', 'Waited'),
        [
            row
            for case in alike
            if case.content == 'full' and not case.writing
            for by in _COPIERS
            if (row := _load(good, case, by))
        ],
    )
    settings = settings_of([one.contender for one in good])
    yield (
        'Settings of the copy',
        'MiB in flight and granularity: seconds to READY, and of the first setting.',
        ('Copy', *settings),
        [row for case in alike if (row := _settings(good, case, settings))],
    )
    yield (
        'Bytes',
        'In MiB: what the servers read and were given to write, and what volumes take.',
        ('Copy', 'By', 'Read', 'Written', 'Source takes', 'Destination takes'),
        [
            _bytes(good, case, by)
            for case in alike
            for by in (LIMIT, VIRSH, OURS)
            if not case.writing and _of(good, case, by)
        ],
    )
    yield (
        'Who drives it',
        'CPU time and peak memory of the process, the median of all copies.',
        ('By', 'CPU, s', 'Peak, MiB'),
        [row for by in NAMES if (row := _process(good, by))],
    )
    yield (
        'Sizes',
        'Seconds for volumes with 16 MiB of data, by size in GiB.',
        ('Copy', 'Size', *NAMES),
        [_sized(good, case) for case in cases if case.content == SPARSE],
    )
    yield (
        'Side by side',
        'One process, while all of them copy: what was seen each second.',
        ('Swaps', 'Failed', 'Seconds', 'Peak, MiB', *(title for title, _, _ in _BESIDE)),
        _beside(results),
    )


#: Whose copies differ in what they do to the machine.
_COPIERS = (LIMIT, DIRECT, VIRSH, RESIDENT)


def _told(pairs: Sequence[tuple[str, str]]) -> list[str]:
    return [f'{ours} of {theirs}' for ours, theirs in pairs]


def _of(samples: Sequence[Sample], case: Case, by: str) -> list[Sample]:
    return [one for one in samples if (one.case, one.contender) == (case, by)]


def _median(values: Sequence[float | None], factor: float = 1.0) -> str:
    known = [value for value in values if value is not None]
    return number(statistics.median(known) * factor) if known else ''


def _goals(judged: Sequence[Judged]) -> Rows:
    rows = []
    for goal in dict.fromkeys(one.goal for one in judged):
        found = [one for one in judged if one.goal == goal]
        worst = max(found, key=lambda one: one.figure.median)
        counts = [sum(one.verdict is verdict for one in found) for verdict in Verdict]
        bound = f'{found[0].bound:g} {found[0].unit}'.strip()
        marks = [f'{count} of {len(found)}' if count else '' for count in counts]
        shown = f'{worst.figure} {worst.unit}'.strip()
        rows.append([goal, bound, *marks, f'{shown}: {worst.of}'])
    return rows


def _seconds(samples: Sequence[Sample], case: Case) -> list[str]:
    found = [_of(samples, case, by) for by in NAMES]
    medians = [_median([one.seconds for one in some]) for some in found]
    return [str(case), *medians, str(max(len(some) for some in found))]


def _ratios(samples: Sequence[Sample], case: Case) -> list[str]:
    return [str(case), *(str(compared(samples, case, *pair) or '') for pair in _ON_EACH)]


def _volumes(cases: Sequence[Case]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((one.content, one.size) for one in cases if not one.writing))


def _over_all(samples: Sequence[Sample], content: str, size: int) -> list[str]:
    found = [over_all(samples, content, size, *pair) for pair in _OVER_ALL]
    return [f'{content}, {size // MIB} MiB', *(str(one) if one else '' for one in found)]


def _switch(samples: Sequence[Sample], by: str) -> list[str]:
    mine = [one for one in samples if one.contender == by]
    asked = [1000 * one.request_s for one in mine if one.request_s]
    pivots = [1000 * one.pivot_s for one in mine if one.pivot_s]
    if not asked or not pivots:
        return []
    cells = [by, str(len(asked))]
    for values in (asked, pivots):
        cells += [str(interval(values)), number(percentile(values, 0.95))]
    return cells


def _guest(samples: Sequence[Sample], case: Case, by: str) -> list[str]:
    found = _of(samples, case, by)
    rates = [one.writes / one.seconds for one in found]
    shares = [one.writes / one.seconds / one.idle_writes_s for one in found if one.idle_writes_s]
    return [
        str(case),
        by,
        _median([one.idle_p999_us for one in found], 0.001),
        _median([one.p999_us for one in found], 0.001),
        _median([one.longest_us for one in found], 0.001),
        _median(rates),
        f'{statistics.median(shares):.0%}' if shares else '',
    ]


def _spent(samples: Sequence[Sample], case: Case, by: str) -> list[str]:
    spent = [
        (one.before_s, one.copy_s, one.seconds - one.before_s - one.copy_s)
        for one in _of(samples, case, by)
        if one.before_s is not None and one.copy_s is not None
    ]
    return [str(case), by, *(_median(part) for part in zip(*spent, strict=True))] if spent else []


def _load(samples: Sequence[Sample], case: Case, by: str) -> list[str]:
    found = [one for one in _of(samples, case, by) if one.load]
    if not found:
        return []
    gib = case.size / MIB / 1024
    parts = (machine.COPIER, machine.SOURCE, machine.DESTINATION)
    rest = [
        one.load[machine.BUSY] - sum(one.load.get(part, 0.0) for part in parts) for one in found
    ]
    each: list[Sequence[float | None]] = [[one.load.get(part) for one in found] for part in parts]
    cores = [
        [one.load[what] / one.seconds for one in found] for what in (machine.BUSY, machine.WAITING)
    ]
    seconds = [_median(values, 1 / gib) for values in (*each, rest)]
    return [str(case), by, *seconds, *(_median(values) for values in cores)]


def _settings(samples: Sequence[Sample], case: Case, settings: Sequence[str]) -> list[str]:
    of_case = [one for one in samples if one.case == case and one.copy_s]
    found = [_of(of_case, case, by) for by in settings]
    if not any(found):
        return []
    cells = []
    for by, some in zip(settings, found, strict=True):
        ratio = compared(of_case, case, by, settings[0], lambda one: one.copy_s or 0.0)
        told = f'{_median([one.copy_s for one in some])} ({ratio})'
        cells.append(told if by != settings[0] else _median([one.copy_s for one in some]))
    return [str(case), *cells]


def _bytes(samples: Sequence[Sample], case: Case, by: str) -> list[str]:
    found = _of(samples, case, by)
    figures: tuple[Callable[[Sample], float | None], ...] = (
        lambda one: one.read,
        lambda one: one.written,
        lambda one: one.source_allocated,
        lambda one: one.allocated,
    )
    return [str(case), by, *(_median([each(one) for one in found], 1 / MIB) for each in figures)]


def _process(samples: Sequence[Sample], by: str) -> list[str]:
    mine = [one for one in samples if one.contender == by and one.peak_kib]
    if not mine:
        return []
    peak = _median([one.peak_kib for one in mine], 1 / 1024)
    return [by, _median([one.cpu_s for one in mine]), peak]


def _sized(samples: Sequence[Sample], case: Case) -> list[str]:
    medians = [_median([one.seconds for one in _of(samples, case, by)]) for by in NAMES]
    return [case.pair, number(case.size / MIB / 1024), *medians]


def _beside(results: Results) -> Rows:
    rows = []
    for count in sorted({one['swaps'] for one in results.beside}):
        runs = [one for one in results.beside if one['swaps'] == count]
        found = [values_of(results.beside, count, key, factor) for _, key, factor in _BESIDE]
        peak = max(one['peak_kib'] for one in runs) / 1024
        cells = [_median([one['seconds'] for one in runs]), number(peak)]
        cells += [str(interval(values)) if values else '' for values in found]
        failed = sum(len(one['errors']) for one in runs)
        rows.append([str(count), str(failed), *cells])
    return rows


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A simple list-table, which needs no widths."""
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in (header, *rows):
        lines += [f'   {"*" if not n else " "} - {cell}'.rstrip() for n, cell in enumerate(row)]
    return lines
