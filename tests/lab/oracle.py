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
"""Does a volume hold every write that the guest had acknowledged, and nothing else?

The counters of the writers say which block each place must hold, to the sequence number; all
other blocks must be what they were before.  Three things can be wrong with a place: its
acknowledged block is **lost** (an older one, or the old content, is there), its content is
**foreign** (damaged, or never meant for this place), or it is **newer** than any write that
was issued.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable

from tests.lab.pattern import BLOCK, ZEROS, Base, Run, read_header

#: How many offending places a report names.
_NAMED = 10
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Acked:
    """How far one writer of a run has come.

    :ivar acked: highest acknowledged sequence number
    :ivar issued: number of the write that was begun last; with no write under way, `acked`
    """

    run: Run
    writer: int
    acked: int
    issued: int


@dataclasses.dataclass
class Report:
    """What was found; counts are places of 4 KiB, offsets are bytes."""

    checked: int = 0
    compared: int = 0
    lost: int = 0
    foreign: int = 0
    newer: int = 0
    changed: int = 0
    first: list[str] = dataclasses.field(default_factory=list)
    exact: bool = True

    @property
    def ok(self) -> bool:
        """Nothing lost, foreign or changed; nothing newer either if the check was exact."""
        wrong = self.lost or self.foreign or self.changed or (self.exact and self.newer)
        return not wrong and self.checked > 0

    def note(self, offset: int, what: str) -> None:
        """Remember an offence, if it is among the first."""
        if len(self.first) < _NAMED:
            self.first.append(f'{offset:#x}: {what}')


@dataclasses.dataclass(frozen=True)
class _Place:
    """What one place may hold: the block `least` of the writer, or one of its later blocks.

    :ivar least: sequence number; 0 for what was there before this run
    :ivar most: highest that was issued and goes here; more than `least` if one is in flight
    """

    run: Run
    writer: int
    least: int
    most: int
    before: '_Place | None'


def check(
    image: str | os.PathLike[str],
    writers: Iterable[Acked],
    base: Base | None = ZEROS,
    *,
    exact: bool = True,
) -> Report:
    """Check the raw `image` against the counters of all writers that ever wrote to it.

    :param writers: in the order in which their runs took place
    :param base: the content before the first run; None skips the comparison of the blocks that
        no writer has, not of those that a writer has not come to
    :param exact: the writers have ended, and their counters are final.  Else (they still run,
        or the guest was killed) a place may hold a block newer than the counter; those are
        counted as `newer` and are no fault
    :raise OSError: the image cannot be read
    """
    report = Report(exact=exact)
    places = _expect(writers)
    with pathlib.Path(image).open('rb', buffering=0) as volume:
        for offset in sorted(places):
            block = os.pread(volume.fileno(), BLOCK, offset)
            _check_place(report, places[offset], offset, block, base)
        if base is not None:
            _compare(report, volume.fileno(), base, places)
    return report


def same(left: str | os.PathLike[str], right: str | os.PathLike[str]) -> bool:
    """Whether two raw images hold the same bytes and are of the same size."""
    with pathlib.Path(left).open('rb') as one, pathlib.Path(right).open('rb') as other:
        while True:
            ours, theirs = one.read(_CHUNK), other.read(_CHUNK)
            if ours != theirs:
                return False
            if not ours:
                return True


def _expect(writers: Iterable[Acked]) -> dict[int, _Place]:
    places: dict[int, _Place] = {}
    for one in writers:
        for place in range(one.run.blocks):
            offset = one.run.offset(one.writer, place)
            least = one.run.latest(place, one.acked)
            most = one.run.latest(place, one.issued)
            places[offset] = _Place(one.run, one.writer, least, most, places.get(offset))
    return places


def _check_place(
    report: Report, place: _Place, offset: int, block: bytes, base: Base | None
) -> None:
    report.checked += 1
    header = read_header(block)
    ours = header is not None and (header.tag, header.writer) == (place.run.tag, place.writer)
    if header is None or not ours:
        if place.least:
            kind = 'lost' if _older(place.before, block, offset, base) else 'foreign'
            _count(report, kind, offset, f'{header}, not block {place.least}')
        elif place.before is not None:
            report.checked -= 1
            _check_place(report, place.before, offset, block, base)
        elif base is not None and block != base.read(offset, BLOCK):
            _count(report, 'foreign', offset, f'{header}, not the old content')
        return
    if place.run.offset(place.writer, place.run.place(header.sequence)) != offset:
        _count(report, 'foreign', offset, f'block {header.sequence} belongs elsewhere')
    elif header.sequence < place.least:
        _count(report, 'lost', offset, f'block {header.sequence}, not {place.least}')
    elif header.sequence > place.most:
        _count(report, 'newer', offset, f'block {header.sequence}, issued {place.most}')


def _older(before: _Place | None, block: bytes, offset: int, base: Base | None) -> bool:
    """Whether a block is what an earlier run, or nobody, left at its place."""
    header = read_header(block)
    while before is not None:
        if header and (header.tag, header.writer) == (before.run.tag, before.writer):
            return True
        before = before.before
    return block == (bytes(BLOCK) if base is None else base.read(offset, BLOCK))


def _count(report: Report, kind: str, offset: int, what: str) -> None:
    setattr(report, kind, getattr(report, kind) + 1)
    report.note(offset, f'{kind}: {what}')


def _compare(report: Report, volume: int, base: Base, places: dict[int, _Place]) -> None:
    size = os.fstat(volume).st_size
    for start in range(0, size, _CHUNK):
        length = min(_CHUNK, size - start)
        found = os.pread(volume, length, start)
        expected = base.read(start, length)[:length]
        blocks = range(start, start + length, BLOCK)
        used = sum(offset in places for offset in blocks)
        report.compared += len(blocks) - used
        if found == expected:
            continue
        for offset in blocks:
            at = slice(offset - start, offset - start + BLOCK)
            if offset not in places and found[at] != expected[at]:
                _count(report, 'changed', offset, 'no writer writes here')
