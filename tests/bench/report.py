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
"""What was measured, as JSON and as a table in reStructuredText."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.cases import MIB, Case, Sample
from tests.bench.contenders import Limit, Ours, Virsh
from tests.bench.figures import Interval, interval, ratios

_HEADER = ('Copy', 'qemu-img', 'virsh', 'blockmirror', 'of virsh', 'of qemu-img')
_GUEST = ('Copy', 'By', 'Idle p99.9', 'p99.9', 'Longest', 'Writes/s')


class Report:
    """Figures of all samples of a run."""

    def __init__(self, samples: Sequence[Sample], about: dict[str, Any]) -> None:
        self._samples = samples
        self._about = about

    def write(self, folder: Path) -> None:
        """Write ``bench.json`` and ``bench.rst``."""
        folder.mkdir(parents=True, exist_ok=True)
        told = {'about': self._about, 'samples': [one.to_json() for one in self._samples]}
        (folder / 'bench.json').write_text(json.dumps(told, indent=1, sort_keys=True) + '\n')
        (folder / 'bench.rst').write_text(self.text())

    def text(self) -> str:
        """Both tables and a few single figures."""
        cases = list(dict.fromkeys(one.case for one in self._samples))
        lines = [', '.join(f'{name} {value}' for name, value in self._about.items()), '']
        lines += ['Seconds, the median of all rounds; ratios with their 95 % interval.', '']
        lines += _table(_HEADER, [self._times(case) for case in cases])
        guests = [case for case in cases if case.writing]
        if guests:
            lines += ['', "The guest's writes during the copy, in milliseconds.", '']
            rows = [self._guest(case, by) for case in guests for by in (Virsh.name, Ours.name)]
            lines += _table(_GUEST, rows)
        return '\n'.join([*lines, '', *self._single(), ''])

    def _of(self, case: Case, contender: str) -> list[Sample]:
        return [one for one in self._samples if (one.case, one.contender) == (case, contender)]

    def seconds(self, case: Case, contender: str) -> list[float]:
        """Of all rounds, in order."""
        return [one.seconds for one in self._of(case, contender)]

    def ratio(self, case: Case, other: str) -> Interval | None:
        """Our time over another's; None where that does not run."""
        theirs = self.seconds(case, other)
        return interval(ratios(self.seconds(case, Ours.name), theirs)) if theirs else None

    def _times(self, case: Case) -> list[str]:
        cells = [f'{case}, {case.size // MIB} MiB']
        for name in (Limit.name, Virsh.name, Ours.name):
            found = self.seconds(case, name)
            cells.append(f'{statistics.median(found):.2f}' if found else '')
        found_ratios = (self.ratio(case, name) for name in (Virsh.name, Limit.name))
        return [*cells, *(str(one or '') for one in found_ratios)]

    def _guest(self, case: Case, by: str) -> list[str]:
        found = self._of(case, by)

        def ms(values: list[int]) -> str:
            return f'{statistics.median(values) / 1000:.1f}'

        return [
            str(case),
            by,
            ms([one.idle_p999_us for one in found]),
            ms([one.p999_us for one in found]),
            ms([one.longest_us for one in found]),
            f'{statistics.median(one.writes / one.seconds for one in found):.0f}',
        ]

    def _single(self) -> list[str]:
        ours = [one for one in self._samples if one.contender == Ours.name]
        lines = []
        for name, values in (
            ('READY to the request for the pivot', [one.request_s for one in ours]),
            ('Request for the pivot to its end', [one.pivot_s for one in ours]),
        ):
            known = [1000 * value for value in values if value is not None]
            if known:
                lines.append(f'* {name}: {interval(known)} ms, {len(known)} swaps')
        return lines


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A simple list-table, which needs no widths."""
    lines = ['.. list-table::', '   :header-rows: 1', '']
    for row in (header, *rows):
        lines += [f'   {"*" if not n else " "} - {cell}' for n, cell in enumerate(row)]
    return lines
