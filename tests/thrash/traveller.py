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
"""A guest whose disk moves again and again, and the judge of each move."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree

from blockmirror_driver.swap.states import ENDED
from tests.functional.command import Command, Result
from tests.lab import oracle
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.layout import LabError
from tests.lab.pattern import Fill
from tests.lab.volumes import KINDS, Volume
from tests.thrash import plan
from tests.thrash.blow import Blow

FILLED = Fill(seed=3, length=17 << 20)
_ENDED = {state.value for state in ENDED}
#: After a recovery that is told to cancel nothing may be open, but what an operator must see.
_RECOVERIES: tuple[tuple[str, ...], ...] = ((), (), ('--cancel',), ('--cancel',))


class Violation(Exception):
    """A promise is broken."""


@dataclass
class Tally:
    """What happened so far."""

    swaps: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    exit_codes: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    bytes_moved: int = 0
    writes_acknowledged: int = 0
    violations: list[dict[str, Any]] = field(default_factory=list)


class Traveller:
    """One guest with one disk; a fresh one after each answer UNKNOWN or violation."""

    def __init__(self, lab: Lab, seed: str, calm: threading.RLock, tally: Tally) -> None:
        self.lab = lab
        self.seed = seed
        self.calm = calm
        self.tally = tally
        self.command = Command(lab)
        # One for all guests, as on any host: what is in no journal counts as left over.
        journal = lab.artefacts_dir / f'thrash-{seed.partition("/")[0]}' / 'journal.sqlite'
        self.command.configure(journal_path=journal, max_concurrent_swaps=16)
        self.volume: Volume | None = None
        self.guest: Guest | None = None
        self.exact = True
        self._guests = 0

    def travel(self, number: int) -> None:
        """Make one move and judge it."""
        move = plan.move(self.seed, number)
        with self.calm:
            source, guest = self._departure(move)
            destination = KINDS[move.to](self.lab).create(source.size)
            path = self.command.connection_file(destination.connection_info())
            record = len(self._records())
        blow = Blow(self.lab, guest, self.command, self.calm)
        running = self.command.start(
            'swap', guest.name, 'vda', path, '--events', 'jsonl', *move.options, crash=move.crash
        )
        try:
            blow.strike(move, running)
            result = running.wait()
            with self.calm:
                end = self._judge(move, result, record, source, destination)
        except (AssertionError, Violation, Exception) as error:  # noqa: BLE001 - all is told
            end = 'violation'
            self.tally.violations.append({
                'seed': self.seed, **asdict(move), 'from': source.kind,
                'what': f'{type(error).__name__}: {error}'[:2000],
            })  # fmt: skip
            print(f'violation: {self.tally.violations[-1]}', file=sys.stderr, flush=True)
            with self.calm:
                self.lab.mend()
                self._leave(source, destination)
        finally:
            Path(path).unlink(missing_ok=True)
        self.tally.swaps += 1
        self.tally.blows[move.blow] += 1
        self.tally.ends[end] += 1
        self.tally.pairs[f'{source.kind} to {move.to}'] += 1

    def close(self) -> None:
        """End the guest and delete its volume."""
        if self.guest:
            self.tally.writes_acknowledged += sum(one.acked for one in self.guest.acked())
            self.guest.destroy()
        if self.volume:
            self.volume.delete()
        self.guest = self.volume = None

    def _departure(self, move: plan.Move) -> tuple[Volume, Guest]:
        """The guest writing on its volume."""
        if self.guest is None or self.volume is None:
            kind = plan.move(self.seed, -1 - self._guests).to
            self.volume = KINDS[kind](self.lab).create(plan.size(self.seed))
            self.volume.write(FILLED, FILLED.length)
            self._guests += 1
            self.exact = True
            name = f'thrash-{self.seed.replace("/", "-")}-{self._guests}'
            domain = Domain(name, [self.volume.disk_xml('vda')], memory_mib=192)
            self.guest = Guest(self.lab, domain)
            self.guest.start()
        self.guest.start_writers(blocks=128, delay_us=10_000)
        self.guest.wait_acked(5)
        return self.volume, self.guest

    def _judge(
        self, move: plan.Move, result: Result, record: int, source: Volume, destination: Volume
    ) -> str:
        self.tally.exit_codes[str(result.code)] += 1
        state = self._settled(record)
        if result.code == 0 and state != 'cleaned':
            raise Violation(f'P5: exit code 0, but the swap is {state}')
        if result.code == 8 and state not in ('cleaned', 'pivoted', 'verified'):
            raise Violation(f'P2: exit code 8, but the swap is {state}')
        if result.code in (3, 4, 5, 6) and state == 'cleaned' and move.crash == '':
            raise Violation(f'P3: exit code {result.code}, but the swap is {state}')
        if state == 'unknown':
            self._judge_unknown(source, destination)
            return state
        if state not in _ENDED:
            raise Violation(f'P6: after recovery the swap is {state}')
        moved = state == 'cleaned'
        there, other = (destination, source) if moved else (source, destination)
        self._judge_guest(there)
        self.volume = there
        other.delete()
        self.tally.bytes_moved += there.size if moved else 0
        return state

    def _settled(self, record: int) -> str:
        """Recover until the swap has an end, and return that."""
        for words in _RECOVERIES:
            state = self._state(record)
            if state in _ENDED or state == 'unknown':
                break
            self.command.run('recover', self._records()[record]['swap_id'], *words)
        return self._state(record)

    def _judge_guest(self, there: Volume) -> None:
        guest = self._guest()
        if not guest.active():
            self.exact = False
            guest.boot()
        else:
            guest.wait_acked(5)
        for flags in (0, 2):
            tree = etree.fromstring(guest.domain.XMLDesc(flags))
            text = ''.join(etree.tostring(disk).decode() for disk in tree.iter('disk'))
            if there.name not in text:
                raise Violation(f'P2: the guest is not on {there.kind}, XML flags {flags}')
            if '<mirror' in text:
                raise Violation('P5: a <mirror> is left')
        if guest.domain.blockJobInfo('vda', 0):
            raise Violation('P5: a block job is left')
        stat = guest.stop_writers()
        if stat.errors:
            raise Violation(f'P3: {stat.errors} I/O errors in the guest')
        report = oracle.check(there.read_back(), guest.acked(), FILLED, exact=self.exact)
        if not report.ok:
            raise Violation(f'P1: {report}')

    def _judge_unknown(self, source: Volume, destination: Volume) -> None:
        """Both volumes are kept, and one of them has every write."""
        guest = self._guest()
        if guest.active():
            guest.stop_writers()
        guest.destroy()
        reports = [
            oracle.check(one.read_back(), guest.acked(), FILLED, exact=False)
            for one in (source, destination)
        ]
        if not any(report.ok for report in reports):
            raise Violation(f'P1: neither volume has all: {reports}')
        self._leave(source, destination)

    def _leave(self, *volumes: Volume) -> None:
        """Give the guest and its volumes up."""
        self.volume = None
        self.close()
        for volume in volumes:
            # What a violation has left open can't be deleted; it goes with the lab.
            with contextlib.suppress(LabError):
                volume.delete()

    def _guest(self) -> Guest:
        assert self.guest is not None
        return self.guest

    def _records(self) -> list[dict[str, Any]]:
        """The swaps of the guest, oldest first."""
        listed = self.command.run('list', '-f', 'json').json
        return [one for one in listed if one['domain'] == self._guest().name]

    def _state(self, record: int) -> str:
        """The state of the swap with this number; one that has no record was refused."""
        records = self._records()
        return str(records[record]['state']) if len(records) > record else 'reverted'
