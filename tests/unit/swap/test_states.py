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
"""The table of states is whole: each can be reached, each but the ends can be left."""

from __future__ import annotations

import itertools

import testtools

from blockmirror_driver.swap.states import (
    ENDED,
    EXIT_CODES,
    SWITCHED,
    TRANSITIONS,
    SwapState,
    diagram,
    may_follow,
)


class StatesTest(testtools.TestCase):
    def test_each_pair_is_allowed_or_refused_by_the_table(self) -> None:
        for old, new in itertools.product(SwapState, SwapState):
            allowed = old is new or (old, new) in TRANSITIONS
            self.assertEqual(allowed, may_follow(old, new), f'{old} {new}')

    def test_nobody_leaves_an_end(self) -> None:
        self.assertEqual([], [pair for pair in TRANSITIONS if pair[0] in ENDED])

    def test_everything_else_can_be_left_and_reached(self) -> None:
        self.assertEqual(set(SwapState) - ENDED, {old for old, _new in TRANSITIONS})
        self.assertEqual(set(SwapState) - {SwapState.PLANNED}, {new for _old, new in TRANSITIONS})

    def test_nothing_goes_back_after_the_switch(self) -> None:
        for old, new in TRANSITIONS:
            if old in SWITCHED:
                self.assertIn(new, SWITCHED | {SwapState.UNKNOWN})

    def test_only_ends_without_fault_may_exit_with_zero(self) -> None:
        self.assertEqual((0,), EXIT_CODES[SwapState.CLEANED])
        self.assertNotIn(0, EXIT_CODES[SwapState.REVERTED])
        self.assertEqual((7,), EXIT_CODES[SwapState.UNKNOWN])
        self.assertEqual((8,), EXIT_CODES[SwapState.PIVOTED])

    def test_the_diagram_draws_every_transition(self) -> None:
        self.assertEqual(len(TRANSITIONS), diagram().count('->'))
