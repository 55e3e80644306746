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
"""The judge: do exit code, journal, libvirt and both volumes tell the same story?"""

from __future__ import annotations

from typing import Any

import libvirt
from lxml import etree

from blockmirror_driver.swap.states import ENDED, SwapState
from tests.faults.scene import MIB, STORED, Scene, Violation
from tests.faults.watcher import Watcher
from tests.functional.command import Result
from tests.lab import oracle
from tests.lab.guest.console import AgentSilent
from tests.lab.layout import LabError
from tests.lab.pattern import Fill
from tests.lab.volumes import Volume

S = SwapState
FILLED = Fill(seed=5, length=16 * MIB)
#: After the third nothing may be open, but what an operator must see.
_RECOVERIES: tuple[tuple[str, ...], ...] = ((), (), ('--cancel',), ('--cancel',))
_ENDED = {state.value for state in ENDED}
#: What the journal may say when the command has ended with a code, by its documentation. What was
#: never begun has no record; a journal that was broken may lag behind.
_AGREE: dict[int, set[str]] = {
    0: {'cleaned', 'finished'},
    3: {'none', 'reverted'},
    4: {'reverted', 'cancelling'},
    5: {'reverted', 'cancelling'},
    6: {'reverted', 'cancelling'},
    7: {'unknown'},
    8: {'pivoted', 'verified', 'cleaned'},
}
#: Which end may follow after recovery, by what the command has said.
_FOLLOWS: dict[int, set[str]] = {
    **{code: _AGREE[code] for code in (0, 3)},
    4: {'reverted'},
    5: {'reverted'},
    6: {'reverted'},
    7: {'unknown', 'reverted', 'cleaned'},
    8: {'cleaned'},
}


def longest_ms(scene: Scene, watcher: Watcher | None) -> int | None:
    """The guest's longest write since the fault struck, or the longest time without one.

    None where the guest began anew.
    """
    if scene.anew:
        return None
    try:
        longest = scene.guest.stat().longest_us // 1000
    except AgentSilent:
        return None
    return max(longest, round(watcher.longest * 1000)) if watcher else longest


def settled(scene: Scene, record: int) -> tuple[str, list[str]]:
    """Recover until the swap has an end; return that, and what the journal said each time."""
    states = []
    for words in _RECOVERIES:
        states.append(_state(scene, record))
        lost = states[-1] == 'none' and scene.cell.fault.alone
        if states[-1] in _ENDED or (states[-1] == 'none' and (not lost or len(states) > 1)):
            break
        named = scene.records()[record : record + 1]
        if not words and named and named[0].hold:
            words = ('--pivot',)  # noqa: PLW2901 - who is on hold waits to be told
        result = scene.command.run('recover', *(one.id for one in named), *words)
        if result.code not in range(9):
            raise Violation(f'P6: recover ended with {result.code}: {result.err[-500:]}')
        if states[-1] == 'unknown' and _state(scene, record) == 'unknown':
            break
    states.append(_state(scene, record))
    return states[-1], states


def judge(scene: Scene, result: Result, states: list[str]) -> bool:
    """Judge one cell; tell whether the guest has moved.

    :raise Violation: a promise is broken; the text begins with which.
    """
    first, end = states[0], states[-1]
    killed = scene.cell.fault.name.startswith('killed')
    journal = scene.cell.fault.name.startswith('journal')
    if killed != (result.code == -9):
        raise Violation(f'harness: exit code {result.code}: {result.err[-800:]}')
    if not killed:
        if result.code not in _AGREE:
            raise Violation(f'P2: exit code {result.code}: {result.err[-800:]}')
        if first not in _AGREE[result.code] and not journal:
            raise Violation(f'P2: exit code {result.code}, and the swap is {first}')
        if end not in _FOLLOWS[result.code] and not (journal and end == 'none'):
            raise Violation(f'P2: exit code {result.code}, and in the end the swap is {end}')
    if end == 'unknown':
        _judge_unknown(scene)
        return False
    if end not in (*_ENDED, 'none'):
        raise Violation(f'P6: after recovery the swap is {end}')
    copied = scene.cell.state is S.FINISHED
    moved = end == 'cleaned' or (end == 'none' and result.code in (0, 8) and not copied)
    if copied and moved:
        raise Violation('P2: a copy without a pivot has moved the guest')
    _judge_guest(scene, scene.destination if moved else scene.source, moved=moved)
    _judge_leftovers(scene)
    return moved


def _judge_guest(scene: Scene, there: Volume, *, moved: bool) -> None:
    guest = scene.guest
    if scene.parts.get('locked out') and moved:
        # Its own disk was taken from it, for as long as this QEMU lives.
        scene.exact = False
        guest.stat()
        guest.domain.destroy()
    if not guest.active():
        guest.boot()
    elif not scene.exact:
        guest.console.wait_ready(60)
    _judge_xml(scene, there, moved=moved)
    running = [one for one in guest.stat().writers if one.running]
    if not running:
        guest.start_writers(blocks=128, delay_us=10_000)
    guest.wait_acked(5)
    stat = guest.stop_writers()
    # What fails may be the guest's own disk: it tries again until the write succeeds.
    own = scene.cell.fault.name == 'source-failing' or moved
    if stat.errors and not own:
        told = {one.last_errno for one in stat.writers}
        raise Violation(f'P3: {stat.errors} I/O errors in the guest: {told}')
    report = oracle.check(there.read_back(), guest.acked(), FILLED, exact=scene.exact)
    if not report.ok:
        raise Violation(f'P1: {report}')


def _judge_xml(scene: Scene, there: Volume, *, moved: bool) -> None:
    domain = scene.guest.domain
    # Another tool's last word on the stored domain stands, unless a pivot came after it.
    others = scene.cell.fault.name == 'domain-redefined' and (
        not moved or scene.cell.state in (S.VERIFIED, S.CLEANED)
    )
    for flags in (0, STORED):
        text = etree.tostring(scene.disk(flags)).decode()
        if there.name not in text and not (others and flags):
            raise Violation(f'P2: the guest is not on {there.kind}, XML flags {flags}')
        if '<mirror' in text:
            raise Violation('P5: a <mirror> is left')
    if domain.blockJobInfo('vda', 0):
        raise Violation('P5: a block job is left')
    if others:
        scene.keep_stored()
        scene.store(there)


def _judge_leftovers(scene: Scene) -> None:
    connection = scene.lab.connect()
    metadata = etree.fromstring(scene.guest.domain.XMLDesc(0)).find('metadata')
    if metadata is not None and b'blockmirror' in etree.tostring(metadata):
        raise Violation('P3: our mark is left on the domain')
    active = [one for one in scene.records() if one.state not in ENDED]
    if active:
        raise Violation(f'P6: open swaps are left: {[one.state.value for one in active]}')
    cited = _cited(connection)
    left = [
        secret.usageID()
        for secret in connection.listAllSecrets()
        if scene.swap_id and scene.swap_id in (secret.usageID() or '')
        and secret.UUIDString() not in cited
    ]  # fmt: skip
    if left:
        raise Violation(f'P3: secrets are left: {left}')
    if scene.cell.fault.alone:
        probes = [one.name() for one in connection.listAllDomains()]
        if [name for name in probes if name.startswith('blockmirror-')]:
            raise Violation(f'P3: a probe is left: {probes}')


def _cited(connection: Any) -> set[str]:
    found: set[str] = set()
    for domain in connection.listAllDomains():
        for flags in (0, STORED):
            try:
                tree = etree.fromstring(domain.XMLDesc(flags))
            except libvirt.libvirtError:
                continue  # it went meanwhile
            found |= {secret.get('uuid', '') for secret in tree.iter('secret')}
    return found


def _judge_unknown(scene: Scene) -> None:
    """Both volumes are kept, and one of them has every write."""
    guest = scene.guest
    if guest.active():
        try:
            guest.stop_writers()
        except LabError:
            scene.exact = False
    guest.destroy()
    volumes = (scene.source, scene.destination)
    reports = [
        oracle.check(one.read_back(), guest.acked(), FILLED, exact=False) for one in volumes
    ]
    if not any(report.ok for report in reports):
        raise Violation(f'P1: neither volume has all: {reports}')


def _state(scene: Scene, record: int) -> str:
    """The state of the swap; a broken journal may have no record of it."""
    found = scene.records()[record:]
    return found[0].state.value if found else 'none'
