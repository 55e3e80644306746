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
"""One guest that takes cell after cell; a fresh one where the last was not left healthy."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blockmirror_driver.swap.request import RequestKind
from blockmirror_driver.swap.states import SwapState
from tests.faults import judge
from tests.faults.catalogue import FAILING, SERVED, Cell
from tests.faults.parts import FailingVolume, SmallDisk, link, stopped
from tests.faults.scene import SIZE, FaultCommand, Scene, Violation
from tests.faults.strikes import IN_PROCESS, STRIKES
from tests.faults.watcher import Watcher
from tests.functional.command import Result
from tests.lab.deadline import wait_until
from tests.lab.guest.domain import Domain
from tests.lab.guest.guest import Guest
from tests.lab.lab import Lab
from tests.lab.layout import LabError
from tests.lab.volumes import KINDS, Volume

S = SwapState
#: Seconds in which the command has to be where the fault strikes, and to end afterwards.
_REACHED_S, _ENDED_S = 60.0, 90.0
#: Seconds for an answer of list, show or cancel while a destination hangs.
_ANSWER_S = 15.0
#: Seconds, so that no cell takes long.
_TIMES = {
    'probe_timeout': 6, 'stall_after': 2, 'stall_timeout': 8, 'abort_timeout': 4,
    'pivot_timeout': 15, 'call_timeout': 10,
}  # fmt: skip
#: The states in which the copy has to last until the fault strikes.
_WHILE_COPYING = frozenset({S.COPYING, S.CANCELLING, S.REVERTED})


class Stand:
    """A guest, its volume, and the command. One thread at a time.

    :param journal_path: one for all guests of the lab, as on any host
    """

    def __init__(self, lab: Lab, name: str, journal_path: Path) -> None:
        self.lab = lab
        self._name = name
        self._journal_path = journal_path
        self._command = self._commanded(journal_path)
        self._guest: Guest | None = None
        self._volume: Volume | None = None
        self._exact = True
        self._guests = 0
        self._kept: list[Volume] = []

    def run(self, cell: Cell) -> dict[str, Any]:
        """Run one cell, and say what came of it."""
        began = time.monotonic()
        told: dict[str, Any] = {'cell': cell.name}
        try:
            scene = self._set(cell)
            told['from'], told['to'] = scene.source.kind, scene.destination.kind
            self._play(scene, told)
            told['result'] = 'held'
        except (Exception, AssertionError) as error:  # noqa: BLE001 - all is told
            told['result'] = f'violated: {type(error).__name__}: {error}'[:1500]
            self._mend()
            self._leave()
        told['seconds'] = round(time.monotonic() - began, 1)
        return told

    def close(self) -> None:
        """End the guest, and delete what is left."""
        self._leave()
        for volume in self._kept:
            with contextlib.suppress(LabError):
                volume.delete()

    # -- setting the scene -------------------------------------------------------------------

    def _set(self, cell: Cell) -> Scene:
        to = self._destination(cell)
        source, guest = self._departure(cell.fault.source)
        destination = _made(self.lab, to)
        scene = Scene(
            self.lab, cell, guest, source, destination, self._command, self._journal_path,
            exact=self._exact,
        )  # fmt: skip
        if cell.fault.name.startswith('journal'):
            disk = SmallDisk(self._command.home / f'small-{cell.number}')
            scene.parts['disk'] = disk
            scene.journal_path = disk.path / 'journal' / 'journal.sqlite'
            scene.command = self._commanded(scene.journal_path)
        return scene

    def _destination(self, cell: Cell) -> str:
        """Not the guest's own server, where that is what breaks."""
        here = self._volume.kind if self._volume else ''
        breaks = set(cell.fault.to) <= set(SERVED)
        if breaks and cell.to[0] == here:
            if len(cell.to) > 1:
                return cell.to[1]
            self._leave()
        return cell.to[0]

    def _departure(self, wanted: str) -> tuple[Volume, Guest]:
        if self._volume and (wanted or self._volume.kind) != self._volume.kind:
            self._leave()
        if self._guest is None or self._volume is None:
            self._guests += 1
            self._exact = True
            self._volume = _made(self.lab, wanted or 'file')
            self._volume.write(judge.FILLED, judge.FILLED.length)
            domain = Domain(
                f'{self._name}-{self._guests}', [self._volume.disk_xml('vda')], memory_mib=192
            )
            self._guest = Guest(self.lab, domain)
            self._guest.start()
        self._guest.start_writers(blocks=128, delay_us=20_000)
        self._guest.wait_acked(5)
        return self._volume, self._guest

    def _commanded(self, journal_path: Path) -> FaultCommand:
        command = FaultCommand(self.lab)
        command.configure(journal_path=journal_path, max_concurrent_swaps=1000, **_TIMES)
        return command

    # -- one cell ----------------------------------------------------------------------------

    def _play(self, scene: Scene, told: dict[str, Any]) -> None:
        path = scene.command.connection_file(scene.destination.connection_info())
        scene.keep_stored()
        record = len(scene.records())
        try:
            self._begin(scene, path)
            frozen = self._reach(scene)
            told['reached'] = True
            scene.name_swap(record)
            scene.guest.reset()
            with self._watched(scene) as watcher:
                result = self._strike(scene, frozen)
                scene.name_swap(record)
                told['exit'] = result.code
                if scene.cell.state is S.UNKNOWN and scene.guest.domain.isPersistent():
                    scene.store(None)  # as an operator would
                end, states = judge.settled(scene, record)
            told['longest_ms'] = longest = judge.longest_ms(scene, watcher)
            told['end'], told['states'] = end, states
            moved = judge.judge(scene, result, states)
            bound = scene.cell.stall_bound(scene.lasted)
            if scene.cell.fault.answers and (longest is None or longest > bound * 1000):
                raise Violation(f'P9: the guest stood still for {longest} ms')
            self._go_on(scene, moved=moved, known=end != 'unknown')
        except BaseException:
            if scene.running is not None:
                scene.process.process.kill()
            self._kept.append(scene.destination)
            raise
        finally:
            Path(path).unlink(missing_ok=True)
            for volume in scene.ours:
                self._delete(volume)
            if 'disk' in scene.parts:
                scene.parts['disk'].close()

    def _begin(self, scene: Scene, path: str) -> None:
        state, words = scene.cell.state, ['--events', 'jsonl']
        what = IN_PROCESS.get(scene.cell.fault.name, 'stop')
        # What stands still while it copies has to do so with the copy under way.
        live = what == 'stop' and state in (S.COPYING, S.HELD)
        verb = 'swap'
        if state is S.FINISHED:
            verb, words = 'copy', [*words, '--reuse-external', '--transient-job', '--finish']
            words.append('--wait')
        elif state in (S.HELD, S.UNKNOWN):
            words.append('--hold')
        elif state in _WHILE_COPYING:
            words += ['--bandwidth', '4MiB', '--buf-size', '1MiB']  # QEMU begins with one of these
        crash = '' if live else f'{what}:{state.value}'
        scene.running = scene.command.start(
            verb, scene.guest.name, 'vda', path, *words, crash=crash
        )

    def _reach(self, scene: Scene) -> bool:
        """Bring the command to where the fault strikes; tell whether it stands still there."""
        state, running = scene.cell.state, scene.process
        what = IN_PROCESS.get(scene.cell.fault.name, 'stop')
        if state in _WHILE_COPYING and (what, state) not in {
            ('before', S.COPYING), ('after', S.COPYING),
        }:  # fmt: skip
            running.wait_copied(1 << 20, _REACHED_S)
            if state is not S.COPYING:
                running.kill(signal.SIGINT)
        elif state in (S.HELD, S.UNKNOWN) and (what, state) not in {
            ('before', S.HELD), ('after', S.HELD),
        }:  # fmt: skip
            running.wait_state('held', timeout=_REACHED_S)
            if state is S.UNKNOWN:
                scene.store(scene.destination)
                scene.guest.domain.blockJobAbort('vda', 0)
        if what in ('before', 'after'):
            running.process.wait(_REACHED_S)
        if what != 'stop':
            return False
        if state in (S.COPYING, S.HELD):
            scene.freeze()
        wait_until(lambda: stopped(running.process.pid), _REACHED_S, f'it stands in {state}')
        return True

    def _strike(self, scene: Scene, frozen: bool) -> Result:
        fault, running = scene.cell.fault, scene.process
        began = time.monotonic()
        mend = STRIKES[fault.name](scene)
        try:
            if frozen:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.process.wait(fault.bites)
                scene.thaw()
            if scene.cell.state is S.HELD and fault.name != 'journal-full':
                self._tell(scene)
            if fault.answers:
                self._answers(scene)
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(max(0.1, fault.lasts - (time.monotonic() - began)))
        finally:
            mend()
            scene.lasted = time.monotonic() - began
        if scene.cell.state is S.HELD:
            self._tell(scene)
        elif scene.cell.state is S.COPYING and scene.swap_id and scene.records():
            scene.ask(RequestKind.SPEED)
        return running.wait(_ENDED_S)

    def _watched(self, scene: Scene) -> contextlib.AbstractContextManager[Watcher | None]:
        """Watch a guest that must not stand still."""
        watched = scene.cell.fault.answers
        return Watcher(scene.guest) if watched else contextlib.nullcontext()

    def _tell(self, scene: Scene) -> None:
        """Tell a swap on hold to pivot; where it can't be told so, to cancel."""
        if scene.process.process.poll() is not None:
            return
        if scene.swap_id and scene.records():
            scene.ask(RequestKind.PIVOT)
        else:
            scene.process.kill(signal.SIGINT)

    def _answers(self, scene: Scene) -> None:
        """Have list and show answer, and in mid-copy a hanging destination's swap cancelled."""
        asked: list[tuple[object, ...]] = [('list', '--active'), ('show', scene.swap_id)]
        hangs = scene.cell.fault.name in ('destination-hung', 'destination-cut-off')
        if hangs and scene.cell.state is S.COPYING:
            asked.append(('cancel', scene.swap_id, '--no-wait'))
        begun = [scene.command.start(*words) for words in asked]
        for words, one in zip(asked, begun, strict=True):
            code = one.wait(_ANSWER_S).code
            if code and words[0] != 'cancel':
                raise Violation(f'P9: {words[0]} ended with {code}')

    # -- afterwards --------------------------------------------------------------------------

    def _go_on(self, scene: Scene, *, moved: bool, known: bool) -> None:
        """Keep what the guest is on, and give the other up."""
        self._exact = scene.exact
        if not known:
            self._volume = None
            self._leave()
            self._delete(scene.source)
            self._delete(scene.destination)
            return
        self._volume = scene.destination if moved else scene.source
        self._delete(scene.source if moved else scene.destination)
        spoilt = scene.cell.fault.name == 'secret-undefined' and moved
        if spoilt or self._volume.kind == FAILING:
            self._leave()

    def _leave(self) -> None:
        """Give the guest and its volume up."""
        if self._guest:
            self._guest.destroy()
        if self._volume:
            self._delete(self._volume)
        self._guest = self._volume = None

    def _delete(self, volume: Volume) -> None:
        try:
            volume.delete()
        except LabError:
            # Ceph takes a client that was killed for alive for a while.
            self._kept.append(volume)

    def _mend(self) -> None:
        """Bring everything back that a fault has broken."""
        link(True)
        self.lab.mend()


def _made(lab: Lab, kind: str) -> Volume:
    maker: Callable[[Lab], Volume] = FailingVolume if kind == FAILING else KINDS[kind]
    return maker(lab).create(SIZE)
