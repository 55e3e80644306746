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
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.cases import CONTENTS, MIB, NAMES, PAIRS, Case
from tests.bench.contenders import CONTENDERS
from tests.bench.report import write
from tests.bench.results import ABOUT, Keeper, Results
from tests.bench.swaps import Swaps
from tests.cloud.environment import SERVICES
from tests.lab.inside import run_inside
from tests.lab.lab import VARIABLE, Lab
from tests.lab.namespace import REPOSITORY

_RECORDS = 'bench.json'
#: Sizes in MiB, and rounds. Six rounds are the fewest whose extremes hold a median with 95 %.
_SIZE, _QUICK_SIZE = 1024, 256
_ROUNDS, _QUICK_ROUNDS = 6, 6
#: Minutes after which a quick run begins no other copy.
_QUICK_MINUTES = 4.0


def main() -> int:
    """Measure; 0 when all was measured."""
    options = _parser().parse_args()
    if options.report:
        write(Results.load(options.report), options.out)
        return 0
    if not os.environ.get(VARIABLE):
        SERVICES.make()  # out here, where there is a network
        return run_inside('bench', 'tests.bench')
    begun = time.monotonic()
    lab = Lab.from_env()
    keeper = Keeper(options.out / _RECORDS, resume=options.resume)
    keeper.keep(ABOUT, _about(lab))
    try:
        _swaps(options, lab, keeper, begun)
    finally:
        write(keeper.results, options.out)
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
    parser.add_argument('--minutes', type=float, help='begin no copy after this time')
    pairs = [f'{source}:{destination}' for source, destination in PAIRS]
    _choices(parser, 'pairs', pairs)
    _choices(parser, 'contents', list(CONTENTS))
    _choices(parser, 'guests', ['idle', 'writing'])
    _choices(parser, 'by', list(NAMES))
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


def _swaps(options: argparse.Namespace, lab: Lab, keeper: Keeper, begun: float) -> None:
    minutes = options.minutes or (_QUICK_MINUTES if options.quick else None)
    until = begun + minutes * 60 if minutes else float('inf')
    by = options.by or NAMES
    swaps = Swaps(lab, keeper.sample, [one for one in CONTENDERS if one.name in by])
    done = {one.key for one in keeper.results.samples if not one.error}
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    swaps.run(_cases(options), rounds, done=done, until=until)


def _cases(options: argparse.Namespace) -> list[Case]:
    size = (options.size or (_QUICK_SIZE if options.quick else _SIZE)) * MIB
    quick = ['full', 'nearly empty']
    contents = options.contents or (quick if options.quick else list(CONTENTS))
    chosen = options.pairs
    pairs = [pair for pair in PAIRS if chosen is None or ':'.join(pair) in chosen]
    guests = options.guests or ['idle', 'writing']
    cases = [Case(*pair, content, False, size) for pair in pairs for content in contents]
    writing = pairs if options.guests or not options.quick else pairs[1:2]
    return (cases if 'idle' in guests else []) + (
        [Case(*pair, 'full', True, size) for pair in writing] if 'writing' in guests else []
    )


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
