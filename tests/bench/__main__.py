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
"""Brings a lab up, measures in it, and writes the report.

    python -m tests.bench [--quick] [--resume] [--out DIRECTORY] [...]
    python -m tests.bench --report RECORDS --out DIRECTORY

All contenders run in one run, interleaved, on volumes made for each copy. Times are compared
round by round. It is no test: nothing passes or fails by a time. Each measurement is written as
soon as there is one, so that an interrupted run still has a report, and can be resumed.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import beside, starts, tuned
from tests.bench.cases import CONTENTS, LIMIT, MIB, NAMES, OURS, PAIRS, SPARSE, VIRSH, Case
from tests.bench.contenders import CONTENDERS, Contender, Limited
from tests.bench.report import RECORDS, text, write
from tests.bench.results import ABOUT, BESIDE, START, Keeper, Results
from tests.bench.swaps import Swaps
from tests.cloud.environment import SERVICES
from tests.lab.inside import run_inside
from tests.lab.lab import VARIABLE, Lab
from tests.lab.namespace import REPOSITORY

#: Sizes in MiB, and rounds. Six rounds are the fewest whose extremes hold a median with 95 %.
_SIZE, _QUICK_SIZE = 1024, 128
_ROUNDS = 6
#: What is measured, in this order; a quick run has the first two.
_PARTS = ('start', 'copies', 'tuned', 'limited', 'sizes', 'beside')
_QUICK_PARTS = 2
#: GiB of volumes that all hold the same data, on those pairs that tell of holes.
_GIB = (1, 4, 32)
_TELLING = (('file', 'file'), ('file', 'rbd'), ('rbd', 'iscsi'))
#: By whom volumes are copied that are not full: one of each kind tells what becomes of them.
_BRIEFLY_BY = (LIMIT, VIRSH, OURS)
_STARTS, _QUICK_STARTS = 15, 8
#: So few pairs that there is time for six rounds: in a quick run, with a guest that writes, and
#: with a limit.
_QUICK_PAIRS = PAIRS[1:4:2]
_WRITING_PAIRS = PAIRS[1:3]
_LIMITED_PAIRS = PAIRS[1:2]
#: Minutes after which a quick run begins no other copy.
_QUICK_MINUTES = 3.5


def main() -> int:
    """Measure; 0 when all was measured."""
    options = _parser().parse_args()
    if options.report:
        told = Results.load(options.report)
        write(told, options.out)
        print(text(told))
        return 0
    # An installed package has its bytecode.
    os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
    if not os.environ.get(VARIABLE):
        SERVICES.make()  # out here, where there is a network
        return run_inside('bench', 'tests.bench')
    begun = time.monotonic()
    # Being terminated leaves a report and no guest, as an interrupt does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lab = Lab.from_env()
    keeper = Keeper(options.out / RECORDS, resume=options.resume)
    keeper.keep(ABOUT, _about(lab))
    minutes = options.minutes or (_QUICK_MINUTES if options.quick else None)
    until = begun + minutes * 60 if minutes else float('inf')
    try:
        _Run(options, lab, keeper, until).measure()
    finally:
        write(keeper.results, options.out)
        (options.out / 'bench.rst').write_text(text(keeper.results))
    print(text(keeper.results))
    return 1 if any(one.error for one in keeper.results.samples) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m tests.bench',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--quick', action='store_true', help='small volumes, 5 minutes at most')
    parser.add_argument('--rounds', type=int, help='of each case')
    parser.add_argument('--size', type=int, help='of a volume, in MiB')
    parser.add_argument('--minutes', type=float, help='begin no copy after so many')
    pairs = [f'{source}:{destination}' for source, destination in PAIRS]
    _choices(parser, 'pairs', pairs)
    _choices(parser, 'contents', list(CONTENTS))
    _choices(parser, 'guests', ['idle', 'writing'])
    _choices(parser, 'by', list(NAMES))
    _choices(parser, 'parts', list(_PARTS))
    _choices(parser, 'counts', [str(count) for count in beside.COUNTS])
    parser.add_argument(
        '--settings',
        type=lambda text: [tuned.Setting.parse(word) for word in text.split(',')],
        metavar='LIST',
        help='of the tuned part: MiB in flight and KiB of granularity, 64:1024 for example',
    )
    _choices(parser, 'gib', [str(size) for size in _GIB])
    parser.add_argument('--resume', action='store_true', help='go on with an interrupted run')
    parser.add_argument('--out', type=Path, default=REPOSITORY / 'build' / 'bench')
    parser.add_argument(
        '--report', type=Path, metavar='RECORDS', help='measure nothing, write the report of these'
    )
    return parser


def _choices(parser: argparse.ArgumentParser, name: str, known: Sequence[str]) -> None:
    def chosen(text: str) -> list[str]:
        words = text.split(',')
        if unknown := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f'{unknown[0]!r} is none of {", ".join(known)}')
        return words

    text = f'some of {", ".join(known)}, with commas between them'
    parser.add_argument(f'--{name}', type=chosen, metavar='LIST', help=text)


@dataclass
class _Run:
    """What all parts share.

    :ivar until: monotonic seconds after which no further copy is begun
    """

    options: argparse.Namespace
    lab: Lab
    keeper: Keeper
    until: float

    def measure(self) -> None:
        """Measure the parts that are wanted."""
        options, keep = self.options, self.keeper.keep
        parts = options.parts or _PARTS[: _QUICK_PARTS if options.quick else None]
        if 'start' in parts:
            rounds = _QUICK_STARTS if options.quick else _STARTS
            starts.measure(rounds, lambda told: keep(START, told))
        if 'copies' in parts:
            cases = _cases(options)
            self._copies([one for one in cases if one.content == 'full'], options.by or NAMES)
            others = [one for one in cases if one.content != 'full']
            self._copies(others, options.by or _BRIEFLY_BY)
        if 'tuned' in parts:
            self._tuned()
        if 'limited' in parts:
            self._turns(_full(options, _LIMITED_PAIRS), [Limited])
        if 'sizes' in parts:
            sizes = [int(one) * 1024 * MIB for one in options.gib or _GIB]
            cases = [Case(*pair, SPARSE, False, size) for pair in _TELLING for size in sizes]
            self._copies(cases, options.by or _BRIEFLY_BY)
        if 'beside' in parts:
            counts = [int(one) for one in options.counts or beside.COUNTS]
            beside.run(self.lab, counts, lambda told: keep(BESIDE, told))

    def _copies(self, cases: Sequence[Case], by: Sequence[str]) -> None:
        self._turns(cases, [one for one in CONTENDERS if one.name in by])

    def _tuned(self) -> None:
        settings = self.options.settings or tuned.SETTINGS
        self._turns(_full(self.options, PAIRS), list(map(tuned.contender, settings)))

    def _turns(self, cases: Sequence[Case], contenders: Sequence[type[Contender]]) -> None:
        swaps = Swaps(self.lab, self.keeper.sample, contenders)
        done = {one.key for one in self.keeper.results.samples if not one.error}
        swaps.run(cases, self.options.rounds or _ROUNDS, done=done, until=self.until)


def _cases(options: argparse.Namespace) -> list[Case]:
    quick = options.quick
    contents = options.contents or (['full'] if quick else list(CONTENTS))
    guests = options.guests or ['idle', 'writing']
    found = []
    if 'idle' in guests:
        for pair in _wanted(options, _QUICK_PAIRS if quick else PAIRS):
            found += [Case(*pair, content, False, _size(options)) for content in contents]
    if 'writing' in guests:
        found += _full(options, _WRITING_PAIRS[: 1 if quick else None], writing=True)
    return found


def _full(
    options: argparse.Namespace, pairs: Sequence[tuple[str, str]], *, writing: bool = False
) -> list[Case]:
    """Full volumes only."""
    size = _size(options)
    return [Case(*pair, 'full', writing, size) for pair in _wanted(options, pairs)]


def _wanted(
    options: argparse.Namespace, pairs: Sequence[tuple[str, str]]
) -> Sequence[tuple[str, str]]:
    """Those that were chosen, of all that there are; else these."""
    if not options.pairs:
        return pairs
    return [pair for pair in PAIRS if ':'.join(pair) in options.pairs]


def _size(options: argparse.Namespace) -> int:
    return (options.size or (_QUICK_SIZE if options.quick else _SIZE)) * MIB


def _about(lab: Lab) -> dict[str, Any]:
    connection = lab.connect()
    libvirt, qemu = connection.getLibVersion(), connection.getVersion()
    return {
        'libvirt': f'{libvirt // 1_000_000}.{libvirt // 1000 % 1000}.{libvirt % 1000}',
        'QEMU': f'{qemu // 1_000_000}.{qemu // 1000 % 1000}.{qemu % 1000}',
        'Python': platform.python_version(),
        'cores': os.cpu_count(),
    }


if __name__ == '__main__':
    sys.exit(main())
