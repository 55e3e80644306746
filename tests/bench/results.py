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
"""What a run has found, in a file that grows with each measurement."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.cases import Sample

#: Kinds of records but the samples; each holds plain values.
ABOUT, START, BESIDE = 'about', 'start', 'beside'
_SAMPLE = 'sample'


@dataclass
class Results:
    """All of it.

    :ivar about: versions and settings of the run
    :ivar samples: copies
    :ivar starts: what starting and importing took
    :ivar beside: swaps side by side
    """

    about: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)
    beside: list[dict[str, Any]] = field(default_factory=list)

    def take(self, kind: str, value: Any) -> None:
        """Take a record up; a later sample of the same key replaces one that failed."""
        if kind == ABOUT:
            self.about.update(value)
        elif kind == START:
            self.starts.append(value)
        elif kind == BESIDE:
            self.beside.append(value)
        else:
            sample = Sample.from_json(value)
            self.samples = [one for one in self.samples if one.key != sample.key]
            self.samples.append(sample)

    def records(self) -> Iterator[tuple[str, Any]]:
        """Yield what :meth:`take` takes."""
        yield ABOUT, self.about
        for one in self.samples:
            yield _SAMPLE, one.to_json()
        for start in self.starts:
            yield START, start
        for beside in self.beside:
            yield BESIDE, beside

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file of :class:`Keeper`, or one of :meth:`save`. A torn last line is left out."""
        found = cls()
        for line in path.read_text().splitlines():
            try:
                ((kind, value),) = json.loads(line).items()
            except ValueError:
                continue
            found.take(kind, value)
        return found

    def save(self, path: Path) -> None:
        """Write all of it, a record a line."""
        path.write_text(''.join(_line(kind, value) for kind, value in self.records()))


class Keeper:
    """Results that are written as they come.

    :param resume: go on with what the file holds; else it begins anew
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.results = Results.load(path) if resume and path.exists() else Results()
        self.results.save(path)

    def keep(self, kind: str, value: Any) -> None:
        """Take a record up, and write it."""
        self.results.take(kind, value)
        with self._path.open('a') as out:
            out.write(_line(kind, value))

    def sample(self, sample: Sample) -> None:
        """Take a copy up, write it, and tell of it."""
        self.keep(_SAMPLE, sample.to_json())
        told = sample.error or f'{sample.seconds:.2f} s'
        print(f'{sample.case}, round {sample.round + 1}: {sample.contender} {told}', flush=True)


def _line(kind: str, value: Any) -> str:
    return json.dumps({kind: value}, sort_keys=True) + '\n'
