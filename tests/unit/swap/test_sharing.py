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
"""Swaps that share a limit of bytes/s, each of them by itself."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import testtools
from hypothesis import given

from blockmirror_driver import exception
from blockmirror_driver.model import BytesPerSecond
from blockmirror_driver.swap import rows, shares
from blockmirror_driver.swap.budget import Budget, Claim, Limit
from blockmirror_driver.swap.owner import Owner
from blockmirror_driver.swap.states import SwapState
from tests.unit.swap.line import MIB, Copy, LineTestCase, to
from tests.unit.swap.records import DEAD, record

LIMITS = st.sampled_from([0, 3 * MIB, 8 * MIB, 10 * MIB + 1, 100 * MIB])
STEPS = ('begin', 'begin', 'end', 'look', 'look', 'speed', 'die', 'recover')
CLAIMS = st.lists(
    st.builds(
        Claim,
        backend=st.sampled_from('abc'),
        own=st.sampled_from([0, 0, 0, 1, MIB, 5 * MIB]),
    ),
    min_size=1,
    max_size=8,
)


class ArithmeticTest(testtools.TestCase):
    def assert_shares(self, expected: list[int], budget: Budget, *claims: Claim) -> None:
        self.assertEqual(expected, [one // MIB for one in shares.shares(budget, claims)])

    def test_equal_parts_of_what_is_left(self) -> None:
        host = Budget(Limit(0, 100 * MIB))
        self.assert_shares([100], host, Claim())
        self.assert_shares([50, 50], host, Claim(), Claim())
        self.assert_shares([40, 30, 30], host, Claim(own=40 * MIB), Claim(), Claim())
        kept = Claim(granted=60 * MIB, kept=True)
        self.assert_shares([60, 20, 20], host, kept, Claim(), Claim(granted=70 * MIB))

    def test_no_limit(self) -> None:
        self.assert_shares([0, 5], Budget(Limit(2)), Claim(), Claim(own=5 * MIB))

    def test_what_a_backend_can_not_take_is_for_the_others(self) -> None:
        both = Budget(Limit(0, 100 * MIB), Limit(0, 30 * MIB))
        self.assert_shares([10, 10, 10, 30], both, Claim('a'), Claim('a'), Claim('a'), Claim('b'))
        wide = Budget(Limit(0, 60 * MIB), Limit(0, 50 * MIB))
        self.assert_shares([15, 15, 15, 15], wide, *[Claim('a')] * 3, Claim('b'))

    def test_a_limit_that_was_lowered_under_running_swaps(self) -> None:
        """None of them stands still, and 0 would be no limit at all."""
        self.assertEqual((MIB,) * 3, shares.shares(Budget(Limit(0, 2 * MIB)), [Claim()] * 3))
        self.assertEqual((7,) * 3, shares.shares(Budget(Limit(0, 7)), [Claim()] * 3))

    @given(LIMITS, LIMITS, CLAIMS)
    def test_never_more_than_a_limit_and_never_less_than_there_is(
        self, host: int, backend: int, claims: list[Claim]
    ) -> None:
        budget = Budget(Limit(0, host), Limit(0, backend))
        scopes = [one for one in budget.scopes(claims) if one.limit.bandwidth]
        found = shares.shares(budget, claims)
        for scope in scopes:
            needs = sum(claims[place].needs(scope.limit) for place in scope.members)
            if needs > scope.limit.bandwidth:
                return  # such swaps are not let in together
        for scope in scopes:
            self.assertLessEqual(sum(found[one] for one in scope.members), scope.limit.bandwidth)
        for place, claim in enumerate(claims):
            if claim.own:
                self.assertEqual(claim.own, found[place])
                continue
            mine = [scope for scope in scopes if place in scope.members]
            if not mine:
                self.assertEqual(0, found[place])
                continue
            self.assertGreaterEqual(found[place], min(one.limit.least for one in mine))
            # Some limit is used up, and nobody who shares it has more.
            self.assertTrue(
                any(
                    sum(found[one] for one in scope.members) + len(scope.members)
                    > scope.limit.bandwidth
                    and all(
                        claims[one].own or found[one] <= found[place] + 1 for one in scope.members
                    )
                    for scope in mine
                ),
                (found, place),
            )


class SharingTest(LineTestCase):
    budget = Budget(Limit(9, 8 * MIB))

    def joined(self, **changes: int) -> Copy:
        (row,) = self.begin(record(**changes))
        return self.copy(row, self.other if len(self.copies) % 2 else self.journal)

    def limits(self) -> list[int]:
        found = [copy.limit for copy in self.copies]
        self.assertLessEqual(sum(found), self.given())
        self.assertLessEqual(self.given(), self.budget.host.bandwidth)
        return [one // MIB for one in found]

    def test_as_swaps_come_and_go(self) -> None:
        first = self.joined()
        self.assertEqual([8], self.limits())
        second = self.joined()
        self.assertEqual([4, 4], self.limits())
        self.assertEqual(['waiting for its turn: others give way to it'], self.told)
        self.joined(bandwidth=2 * MIB)
        self.assertEqual([3, 3, 2], self.limits())
        self.end(first)
        self.pass_time()
        self.assertEqual([6, 2], self.limits())
        self.end(second)
        self.pass_time()
        self.assertEqual([2], self.limits())

    def test_the_copy_is_told_of_changes_only(self) -> None:
        first = self.joined()
        for _ in range(3):
            self.pass_time()
        self.assertEqual([], first.told)
        self.joined()
        for _ in range(3):
            self.pass_time()
        self.assertEqual([4 * MIB], first.told)

    def test_a_rise_that_is_not_worth_it(self) -> None:
        self.budget = Budget(Limit(99, 100 * MIB))
        for _ in range(30):
            self.joined()
        self.end(self.copies[-1])
        before = [len(copy.told) for copy in self.copies]
        self.pass_time()
        self.assertEqual(before, [len(copy.told) for copy in self.copies])
        self.joined()  # a fall always is, as small as it may be
        self.limits()

    def test_a_new_one_waits_until_the_others_have_given_way(self) -> None:
        self.joined()
        silent = self.copies.pop()
        error = self.assertRaises(exception.BudgetExhausted, self.begin, record())
        self.assertIn('other swaps have not given way', str(error))
        self.assertEqual(110.0, self.now)
        self.assertEqual(8 * MIB, silent.limit)

    def test_or_takes_what_they_leave(self) -> None:
        self.journal.create(record(state=SwapState.COPYING, granted=6 * MIB))
        (row,) = self.begin(record())
        self.assertEqual((2 * MIB, 110.0), (row.granted, self.now))

    def test_to_several_backends(self) -> None:
        self.budget = Budget(Limit(9, 8 * MIB), Limit(0, 2 * MIB))
        for pool in ('slow', 'slow', 'fast'):
            (row,) = self.begin(to(pool))
            self.copy(row)
        self.pass_time()
        self.assertEqual([1, 1, 2], self.limits())

    def test_a_group_gets_its_parts_at_once(self) -> None:
        self.joined()
        rows = self.begin(record(), record(bandwidth=2 * MIB))
        self.assertEqual([3, 2], [row.granted // MIB for row in rows])
        self.assertEqual([3], self.limits())

    def test_what_an_operator_wants_is_its_own(self) -> None:
        first, second = self.joined(), self.joined()
        self.assertEqual(6 * MIB, first.sharing.own(BytesPerSecond(6 * MIB)))
        first.look()
        self.assertEqual([4, 4], self.limits())  # the other has not looked yet
        self.pass_time()
        self.pass_time()
        self.assertEqual([6, 2], self.limits())
        # As much as leaves the least to each of the others.
        self.assertEqual(7 * MIB, second.sharing.own(BytesPerSecond(20 * MIB)) + 5 * MIB)
        first.sharing.own(BytesPerSecond(0))
        for _ in range(3):
            self.pass_time()
        self.assertEqual([6, 2], sorted(self.limits(), reverse=True))

    def test_taken_up_by_another_process(self) -> None:
        """It has its part again, whatever its job was left at."""
        self.journal.create(
            record(owner=DEAD, state=SwapState.COPYING, granted=8 * MIB, id='left')
        )
        self.assertTrue(self.journal.adopt('left'))
        copy = Copy(self, self.journal, self.journal.record('left'))
        copy.limit = 0  # by another tool
        self.copies.append(copy)
        self.pass_time()
        self.assertEqual([8], self.limits())
        self.joined()
        self.assertEqual([4, 4], self.limits())

    def test_one_of_which_it_is_not_known_what_it_may_move(self) -> None:
        """As a journal that was lost says of it: it counts as all until it has looked."""
        self.journal.create(record(state=SwapState.COPYING, id='found'))
        self.copies.append(Copy(self, self.other, self.journal.record('found')))
        self.joined()
        self.assertEqual([4, 4], self.limits())

    def test_a_limit_that_can_not_be_set(self) -> None:
        """What is granted stays as it was, so that nobody else takes it; it is tried again."""
        first = self.joined()

        def refuse(_bandwidth: BytesPerSecond) -> None:
            raise exception.HypervisorUnavailable('away')

        self.journal.set_granted(first.id, 9 * MIB)
        self.assertRaises(
            exception.HypervisorUnavailable, first.sharing.look, lambda: 9 * MIB, refuse
        )
        self.assertEqual(9 * MIB, self.given())
        self.pass_time()
        self.assertEqual([8], self.limits())

    def test_a_swap_that_does_not_count_any_more(self) -> None:
        first = self.joined()
        self.end(first)
        first.look()
        self.assertEqual([], first.told)

    def test_when_to_look(self) -> None:
        first = self.joined()
        self.assertTrue(first.sharing.is_due())
        first.look()
        self.assertFalse(first.sharing.is_due())
        self.now += 2.5
        first.sharing.put_off()
        self.assertFalse(first.sharing.is_due())
        self.now += 2.5
        self.assertTrue(first.sharing.is_due())
        self.budget = Budget(Limit(9))
        self.assertFalse(Copy(self, self.journal, self.journal.record(first.id)).sharing.is_due())


class CampaignTest(LineTestCase):
    """Whatever comes and goes: never more is granted than a limit, and all is used in the end."""

    budget = Budget(Limit(6, 20 * MIB), Limit(4, 12 * MIB))

    def test_any_order(self) -> None:
        for seed in range(10):
            self._campaign(random.Random(seed))

    def _campaign(self, dice: random.Random) -> None:
        for _ in range(40):
            what = dice.choice(STEPS)
            if what == 'begin':
                self._begin(dice)
            elif what == 'recover':
                self._recover()
            elif self.copies:
                copy = dice.choice(self.copies)
                if what == 'end':
                    self.end(copy)
                elif what == 'look':
                    self.now += 2.5
                    copy.look()
                elif what == 'speed':
                    copy.sharing.own(BytesPerSecond(dice.choice([0, MIB, 3 * MIB, 50 * MIB])))
                else:
                    self.copies.remove(copy)
                    self._owned_by(copy.id, DEAD)
            self._check()
        self._recover()
        while self.copies:
            for _ in range(4):
                self.pass_time()
                self._check()
            self._check_all_is_used()
            self.end(self.copies[0])

    def _begin(self, dice: random.Random) -> None:
        own = dice.choice([0, 0, 0, 2 * MIB, 9 * MIB])
        try:
            (row,) = self.begin(to(dice.choice('ab'), bandwidth=own))
        except exception.BudgetExhausted:
            return
        self.copy(row, dice.choice([self.journal, self.other]))

    def _recover(self) -> None:
        running = {copy.id for copy in self.copies}
        for row in self.journal.records(active_only=True):
            if row.id not in running:
                self._owned_by(row.id, Owner.current())
                self.copies.append(Copy(self, self.journal, row))

    def _owned_by(self, swap_id: str, owner: Owner) -> None:
        with self.journal.database.write() as db:
            db.execute('UPDATE swap SET owner = ? WHERE id = ?', (rows.owner_text(owner), swap_id))

    def _check(self) -> None:
        active = self.journal.records(active_only=True)
        claims = [self.budget.claim(row) for row in active]
        moves = {copy.id: copy.limit for copy in self.copies}
        for row in active:
            self.assertGreater(row.granted, 0)
            self.assertLessEqual(moves.get(row.id, 0), row.granted)
        for scope in self.budget.scopes(claims):
            total = sum(active[place].granted for place in scope.members)
            self.assertLessEqual(total, scope.limit.bandwidth)

    def _check_all_is_used(self) -> None:
        active = self.journal.records(active_only=True)
        wanted = shares.shares(self.budget, [self.budget.claim(row) for row in active])
        for row, share in zip(active, wanted, strict=True):
            self.assertGreaterEqual(row.granted * 1.06, share)
