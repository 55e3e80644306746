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
"""The promises broken on purpose: the list is sound, and a sample of it is noticed."""

from __future__ import annotations

import random
import unittest

from tests.mutants.__main__ import ROOT, judge
from tests.mutants.catalog import MUTANTS

#: Other seeds, other samples: ``make mutants`` runs all.
SEED = 5
SAMPLE = 2


class MutantsTest(unittest.TestCase):
    def test_each_changes_one_place(self) -> None:
        for mutant in MUTANTS:
            with self.subTest(mutant.name):
                text = (ROOT / mutant.file).read_text()
                self.assertEqual(1, text.count(mutant.old))
                self.assertNotEqual(mutant.old, mutant.new)

    def test_each_promise_is_broken_on_real_parts(self) -> None:
        broken = {mutant.promise for mutant in MUTANTS if mutant.on_real_parts}
        self.assertEqual({f'P{number}' for number in range(1, 10)}, broken)

    def test_a_sample_is_noticed(self) -> None:
        quick = [mutant for mutant in MUTANTS if not mutant.on_real_parts]
        for mutant in random.Random(SEED).sample(quick, SAMPLE):
            with self.subTest(mutant.name):
                self.assertEqual('killed', judge(mutant))
