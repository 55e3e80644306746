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
"""The fault matrix is whole: each state, each fault, a cell or a reason."""

from __future__ import annotations

import itertools
import json
import unittest

from blockmirror_driver.swap.states import SWITCHED, SwapState
from tests.faults.campaign import chosen
from tests.faults.catalogue import FAILING, FAULTS, KINDS, STALL_BOUND, WINDOWS, cells
from tests.faults.report import REPORT, summed
from tests.faults.strikes import IN_PROCESS, STRIKES

PROMISES = {f'P{number}' for number in range(1, 10)}


class MatrixTest(unittest.TestCase):
    def test_each_pair_is_a_cell_or_has_a_reason(self) -> None:
        found = {cell.name for cell in cells()}
        for state, fault in itertools.product(SwapState, FAULTS):
            with self.subTest(state=state.value, fault=fault.name):
                reason = fault.impossible.get(state, '')
                self.assertEqual(reason == '', f'{state.value}/{fault.name}' in found)
                self.assertTrue(reason == '' or (reason[0].isupper() and reason.endswith('.')))

    def test_each_state_is_struck_and_each_fault_strikes(self) -> None:
        self.assertEqual(set(SwapState), {cell.state for cell in cells()})
        self.assertEqual(set(STRIKES), {fault.name for fault in FAULTS})
        self.assertLessEqual(set(IN_PROCESS), set(STRIKES))
        self.assertEqual(len(FAULTS), len(STRIKES))

    def test_our_process_is_killed_at_every_write(self) -> None:
        names = {cell.name for cell in cells()}
        for state, when in itertools.product(SwapState, ('before', 'after')):
            self.assertIn(f'{state.value}/killed-{when}', names)

    def test_a_fault_proves_a_promise_on_backends_that_there_are(self) -> None:
        for fault in FAULTS:
            with self.subTest(fault.name):
                self.assertIn(fault.promise, PROMISES)
                self.assertLessEqual(set(fault.to), {*KINDS, FAILING})

    def test_the_backends_take_turns(self) -> None:
        turns = {cell.to[0] for cell in cells() if cell.fault.to == KINDS}
        self.assertEqual(set(KINDS), turns)

    def test_where_a_moment_remains_the_bound_has_the_fault_in_it(self) -> None:
        for cell in cells():
            with self.subTest(cell.name):
                moment, switched = cell.state in WINDOWS, cell.state in SWITCHED
                bound = float('inf') if switched else STALL_BOUND + (8.0 if moment else 0.0)
                self.assertEqual(bound, cell.stall_bound(8.0))

    def test_a_seed_draws_the_same_sample(self) -> None:
        self.assertEqual(chosen('', 8, 3), chosen('', 8, 3))
        self.assertEqual(8, len({cell.name for cell in chosen('', 8, 3)}))
        self.assertNotEqual(chosen('', 8, 3), chosen('', 8, 4))

    def test_only_those_that_are_named(self) -> None:
        self.assertEqual(['held/qemu-killed'], [c.name for c in chosen('held/qemu-k', 0, 1)])


class ReportTest(unittest.TestCase):
    def test_a_report_can_be_read(self) -> None:
        told = {cell.name: {'cell': cell.name, 'result': 'held'} for cell in cells()}
        read = json.loads(summed(told, 1))
        self.assertEqual(len(cells()), len(read['cells']))
        self.assertEqual([fault.name for fault in FAULTS], [one['name'] for one in read['faults']])

    def test_the_one_in_the_documents_is_of_this_matrix(self) -> None:
        """Whoever adds a fault or a state runs its cells and writes the report again."""
        read = json.loads(REPORT.read_text())
        self.assertEqual([cell.name for cell in cells()], [one['cell'] for one in read['cells']])
