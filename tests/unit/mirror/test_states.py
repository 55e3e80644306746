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
"""What the states promise, and the drawings made from them."""

from __future__ import annotations

import io
import unittest
from contextlib import redirect_stderr, redirect_stdout

from blockmirror_driver.mirror import diagram
from blockmirror_driver.mirror.machine import MirrorModel
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.mirror.snapshot import snapshot
from blockmirror_driver.mirror.states import RUNNING, TERMINAL, TRANSITIONS, Cause, JobState


class States(unittest.TestCase):
    """The set of transitions."""

    def test_nothing_leaves_a_final_state(self) -> None:
        """And everything else may end in each of them."""
        self.assertFalse([pair for pair in TRANSITIONS if pair[0] in TERMINAL])
        living = set(JobState) - TERMINAL
        self.assertLessEqual({(a, b) for a in living for b in TERMINAL}, TRANSITIONS)

    def test_no_loops_on_one_state(self) -> None:
        """A transition changes the state."""
        self.assertFalse([pair for pair in TRANSITIONS if pair[0] is pair[1]])

    def test_running_states_can_be_aborted(self) -> None:
        """Whoever is asked to cancel finds a way from each of them."""
        for state in RUNNING:
            self.assertIn((state, JobState.ABORTING), TRANSITIONS)


class Diagrams(unittest.TestCase):
    """Drawn from the code, so they hold all of it."""

    def test_every_transition_is_drawn(self) -> None:
        """Mermaid and Graphviz have an arrow per transition."""
        for old, new in TRANSITIONS:
            self.assertIn(f'    {old.name} --> {new.name}\n', diagram.mermaid())
            self.assertIn(f'    {old.name} -> {new.name}', diagram.dot())

    def test_the_table_has_a_row_per_state(self) -> None:
        """Between reStructuredText's rules, none wider than they are."""
        lines = diagram.table().splitlines()
        self.assertEqual([line.split()[0] for line in lines[3:-1]], [s.name for s in JobState])
        self.assertEqual((lines[0], lines[2]), (lines[-1], lines[-1]))
        self.assertTrue(all(len(line) <= len(lines[0]) for line in lines))

    def test_the_command(self) -> None:
        """It prints what was asked for, and 2 is its answer to anything else."""
        for name, renderer in diagram.RENDERERS.items():
            with redirect_stdout(io.StringIO()) as out:
                self.assertEqual(diagram.main([name]), 0)
            self.assertEqual(out.getvalue(), renderer())
        with redirect_stderr(io.StringIO()):
            self.assertEqual(diagram.main(['ascii-art']), 2)


class Snapshots(unittest.TestCase):
    """What others are told."""

    def test_each_cause_has_words(self) -> None:
        """All but the ordinary way."""
        for cause in Cause:
            told = snapshot(MirrorModel(cause=cause), Progress())
            self.assertEqual(bool(told.reason), cause is not Cause.NONE)

    def test_a_refusal_says_why(self) -> None:
        """The hypervisor's own words are kept."""
        model = MirrorModel(JobState.READY, Cause.PIVOT_REFUSED, refused='not ready yet')
        self.assertIn('not ready yet', snapshot(model, Progress()).reason)

    def test_a_confirmed_end(self) -> None:
        """Only ABORTED by our own, confirmed cancellation is one."""
        for state in JobState:
            for cause in Cause:
                told = snapshot(MirrorModel(state, cause), Progress())
                wanted = state is JobState.ABORTED and cause is Cause.CANCELED
                self.assertEqual(told.end_confirmed, wanted)
