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
"""Whatever happens in whatever order, the promises of a swap hold.

Hypothesis plans what befalls the guest, libvirt, the journal and our process, and when. A
reference that looks only at the guest itself says what may be answered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import testtools
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.model import IoTune, Source
from blockmirror_driver.swap.request import Ending
from blockmirror_driver.swap.states import ENDED, EXIT_CODES, SWITCHED, SwapState
from blockmirror_driver.virt.events import BlockJobStatus
from blockmirror_driver.xml.disk import same_volume
from tests.unit import INPUTS
from tests.unit.swap.guest import DESTINATION, OTHER, Fate
from tests.unit.swap.world import World


class Killed(BaseException):
    """Our process dies here: nothing of ours may run after it."""


#: Thousands of small journals: nothing is lost if the machine goes down.
MEMORY = '/dev/shm' if Path('/dev/shm').is_dir() else None

#: A destination whose limits the disk gets with it, and not before.
LIMITED = dataclasses.replace(DESTINATION, iotune=IoTune(total_iops_sec=500))
#: What may befall a swap at any moment.
BLOWS: dict[str, Callable[[World], object]] = {
    'cancel': lambda world: world.service.cancel_local(),
    'leave': lambda world: world.service.leave(),
    'ask to cancel': lambda world: _ask(world, 'request_cancel'),
    'ask to pivot': lambda world: _ask(world, 'request_pivot'),
    'ask to hold': lambda world: _ask(world, 'request_hold', True),
    'ask to let go': lambda world: _ask(world, 'request_hold', False),
    'ask for speed': lambda world: _ask(world, 'request_speed', 4096),
    'libvirt goes': lambda world: setattr(world.hypervisor, 'away', True),
    'libvirt comes': lambda world: setattr(world.hypervisor, 'away', False),
    'the journal is full': lambda world: setattr(world.journal.db, 'full', True),
    'the journal has space': lambda world: setattr(world.journal.db, 'full', False),
    'the job fails': lambda world: world.guest.ends(BlockJobStatus.FAILED),
    'the job vanishes': lambda world: world.guest.ends(),
    'another tool aborts': lambda world: _on_job(world, 'abort'),
    'another tool pivots': lambda world: _on_job(world, 'pivot'),
    'another tool pivots at once': lambda world: world.guest.switches(),
    'a foreign job': lambda world: world.guest.foreign() if world.guest.active else None,
    'the guest dies': lambda world: world.guest.die(),
    'the guest dies silently': lambda world: world.guest.die(emit=False),
    'the stored XML goes stale': lambda world: setattr(world.guest, 'stored_source', OTHER),
    'we are killed': lambda _world: _kill(),
}

blows = st.lists(st.tuples(st.floats(0.1, 70.0), st.sampled_from(sorted(BLOWS))), max_size=5)
fates = st.lists(
    st.sampled_from(('switch', 'refuse', 'fail', 'never', 'die', 'vanish')), max_size=4
)


def _ask(world: World, method: str, *args: object) -> None:
    with contextlib.suppress(exception.Refused):  # too late, or the journal is full
        getattr(world.new_service(), method)(world.id, *args)


def _on_job(world: World, what: str) -> None:
    if world.guest.mirrored is not None and world.guest.active:
        world.guest.shows('abort' if what == 'abort' else 'pivot')
        ends = {
            'abort': lambda: world.guest.ends(BlockJobStatus.CANCELED),
            'pivot': world.guest.switches,
        }[what]
        world.later(1.0, ends)


def _kill() -> None:
    raise Killed


def is_destination(source: Source | None) -> bool:
    return source is not None and same_volume(source, DESTINATION.source)


class Story:
    """One life of a swap, told and judged."""

    def __init__(self, case: testtools.TestCase, world: World) -> None:
        self.case = case
        self.world = world
        self.guest = world.guest
        self.was_foreign = False

    def run(self, ending: Ending, *, hold: bool, until: float = 0.0) -> None:
        """Run the swap once; whatever it answers must be true.

        :param until: seconds from now at which a swap that is held goes on by itself
        """
        try:
            outcome = self.world.run(
                destination=LIMITED,
                ending=ending,
                hold=hold,
                copy_timeout=60.0,
                hold_until=time.time() + until if until else 0.0,
            )
        except Killed:
            return
        except exception.BlockmirrorError as error:
            self._judge(error.exit_code)
        else:
            self._judge(outcome.exit_code)
            self.case.assertIn(outcome.exit_code, EXIT_CODES[outcome.state])

    def recover(self) -> None:
        """Recover as often as it takes with a world that works again."""
        self.world.hypervisor.away = False
        self.world.journal.db.full = False
        self.guest.abort_hangs = False
        self.world.plans.clear()
        for _attempt in range(4):
            self.guest.pivots = []
            self.world.later(1.0, self.guest.ready)
            for result in self.world.new_service().recover(action='cancel'):
                self._judge(result.exit_code)
                self.case.assertIn(result.exit_code, EXIT_CODES[result.state])

    def _judge(self, code: int) -> None:
        guest = self.guest
        if code in (3, 4, 5, 6) and guest.active:
            self.case.assertFalse(is_destination(guest.live_source), f'exit code {code}')
        if code == 8:
            where = guest.live_source if guest.active else guest.stored_source
            self.case.assertTrue(is_destination(where))
        self.case.assertEqual([], self.world.journal.forbidden)
        self.case.assertEqual(0, self.world.hypervisor.subscribed)

    def judge_end(self) -> None:
        """What the journal says at last is so."""
        for row in self.world.journal.records():
            if row.state is SwapState.CLEANED and self.guest.active:
                self.case.assertTrue(is_destination(self.guest.live_source))
                self.case.assertEqual(LIMITED.iotune, self.guest.limits)
                self.case.assertIn(
                    (row.id, 'disk'),
                    {(name, life.value) for name, life in self.world.hypervisor.fake_secrets.kept},
                )
            elif row.state in (SwapState.REVERTED, SwapState.FINISHED) and self.guest.active:
                self.case.assertIsNone(self.guest.limits)
                self.case.assertFalse(is_destination(self.guest.live_source))
            elif row.state not in ENDED:
                self.case.assertIn(row.state, (SwapState.UNKNOWN, SwapState.CANCELLING, *SWITCHED))


def _target(world: World) -> Source | None:
    return world.guest.mirrored[0] if world.guest.mirrored else None


class SwapPromisesTest(testtools.TestCase):
    @contextlib.contextmanager
    def story(self) -> Iterator[Story]:
        """A story in a world of its own, which ends well."""
        directory = tempfile.mkdtemp(prefix='bm-unit-', dir=MEMORY)
        world = World(directory)
        # What is held, or forgotten by everybody, has an end all the same.
        world.later(1000.0, world.service.cancel_local)
        world.later(2000.0, world.service.leave)
        story = Story(self, world)
        try:
            yield story
            story.recover()
            story.judge_end()
        finally:
            world.journal.close()
            shutil.rmtree(directory)

    @hypothesis.settings(max_examples=max(120, INPUTS), deadline=None)
    @hypothesis.given(
        plan=blows,
        pivots=fates,
        ending=st.sampled_from(Ending),
        hold=st.booleans(),
        until=st.sampled_from((0.0, 1.0, 20.0, 200.0)),
        events=st.booleans(),
    )
    def test_random_lives(
        self,
        *,
        plan: list[tuple[float, str]],
        pivots: list[Fate],
        ending: Ending,
        hold: bool,
        until: float,
        events: bool,
    ) -> None:
        with self.story() as story:
            world = story.world
            world.guest.pivots, world.guest.events = list(pivots), events
            # One that comes between our look and our call can't be told from ours.
            world.guest.on('pivot', lambda: self.assertNotEqual(OTHER, _target(world)))
            for when, what in plan:
                world.later(when, functools.partial(BLOWS[what], world))
            story.run(ending, hold=hold, until=until)

    def test_each_blow_at_each_write_of_the_journal(self) -> None:
        """Not random: every one, right after every state of the ways forward and back."""
        for state, what in itertools.product(SwapState, BLOWS):
            for ending in (Ending.PIVOT, Ending.FINISH):
                with (
                    self.subTest(f'{what} at {state.value}, {ending.value}'),
                    self.story() as story,
                ):
                    self._strike(story, state, what, ending)

    def _strike(self, story: Story, state: SwapState, what: str, ending: Ending) -> None:
        world = story.world
        world.journal.at[state] = functools.partial(BLOWS[what], world)
        if state is SwapState.CANCELLING and ending is Ending.PIVOT:
            world.later(1.0, world.service.cancel_local)
        story.run(ending, hold=state is SwapState.HELD)
