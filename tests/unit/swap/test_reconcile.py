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
"""Every combination of evidence has the verdict that the design gives it."""

from __future__ import annotations

import itertools

import testtools

from blockmirror_driver.swap.reconcile import (
    Decision,
    Evidence,
    Guest,
    Job,
    Side,
    decide,
)

#: Rows of the design's table: guest, jobs, live sides, stored sides, pivot asked, decision.
TABLE = [
    (Guest.RUNNING, {Job.COPYING, Job.READY}, {Side.SOURCE}, set(Side), None, Decision.RESUME),
    (Guest.RUNNING, {Job.PIVOTING, Job.ABORTING}, {Side.SOURCE}, set(Side), None, Decision.WAIT),
    (Guest.RUNNING, {Job.FOREIGN}, set(Side), set(Side), None, Decision.UNKNOWN),
    (
        Guest.RUNNING,
        {Job.NONE},
        {Side.SOURCE},
        {Side.SOURCE, Side.ABSENT, Side.OTHER},
        False,
        Decision.REVERT,
    ),
    (
        Guest.RUNNING,
        {Job.NONE},
        {Side.SOURCE},
        {Side.SOURCE, Side.ABSENT, Side.OTHER},
        True,
        Decision.UNKNOWN,
    ),
    (Guest.RUNNING, {Job.NONE}, {Side.SOURCE}, {Side.DESTINATION}, None, Decision.UNKNOWN),
    (
        Guest.RUNNING,
        {Job.NONE},
        {Side.DESTINATION},
        {Side.DESTINATION, Side.ABSENT},
        None,
        Decision.ROLL_FORWARD,
    ),
    (
        Guest.RUNNING,
        {Job.NONE},
        {Side.DESTINATION},
        {Side.SOURCE, Side.OTHER},
        None,
        Decision.REPAIR,
    ),
    (Guest.RUNNING, {Job.NONE}, {Side.OTHER, Side.ABSENT}, set(Side), None, Decision.UNKNOWN),
    (
        Guest.RUNNING,
        {Job.COPYING, Job.READY, Job.PIVOTING, Job.ABORTING},
        {Side.DESTINATION, Side.OTHER, Side.ABSENT},
        set(Side),
        None,
        Decision.UNKNOWN,
    ),
    (
        Guest.GONE,
        set(Job),
        set(Side),
        {Side.SOURCE, Side.ABSENT},
        False,
        Decision.REVERT,
    ),
    (Guest.GONE, set(Job), set(Side), {Side.OTHER}, False, Decision.UNKNOWN),
    (
        Guest.GONE,
        set(Job),
        set(Side),
        {Side.SOURCE, Side.ABSENT, Side.OTHER},
        True,
        Decision.UNKNOWN,
    ),
    (Guest.GONE, set(Job), set(Side), {Side.DESTINATION}, None, Decision.ROLL_FORWARD),
]


def _expected(evidence: Evidence) -> list[Decision]:
    return [
        decision
        for guest, jobs, lives, stored, pivot, decision in TABLE
        if evidence.guest is guest
        and evidence.job in jobs
        and evidence.live in lives
        and evidence.stored in stored
        and pivot in (None, evidence.pivot_requested)
    ]


class DecideTest(testtools.TestCase):
    def test_every_combination_has_exactly_one_row_and_its_decision(self) -> None:
        count = 0
        for values in itertools.product(Guest, Job, Side, Side, (False, True)):
            evidence = Evidence(*values)
            expected = _expected(evidence)
            self.assertEqual(1, len(expected), str(evidence))
            verdict = decide(evidence)
            self.assertIs(expected[0], verdict.decision, str(evidence))
            self.assertTrue(verdict.reason)
            count += 1
        self.assertEqual(2 * 6 * 4 * 4 * 2, count)

    def test_a_guest_gone_after_a_requested_pivot_is_never_reverted(self) -> None:
        for job, live, stored in itertools.product(Job, Side, Side):
            verdict = decide(Evidence(Guest.GONE, job, live, stored, pivot_requested=True))
            self.assertIsNot(Decision.REVERT, verdict.decision)

    def test_a_guest_on_the_destination_is_never_reverted(self) -> None:
        for job, stored, pivot in itertools.product(Job, Side, (False, True)):
            verdict = decide(Evidence(Guest.RUNNING, job, Side.DESTINATION, stored, pivot))
            self.assertIsNot(Decision.REVERT, verdict.decision)
