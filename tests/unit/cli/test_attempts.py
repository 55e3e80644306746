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
"""When a swap is begun anew, and when never."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import testtools

from blockmirror_driver import exception
from blockmirror_driver.cli.attempts import Attempts
from blockmirror_driver.swap.service import SwapService
from blockmirror_driver.swap.states import SwapState

SOON = 0.001


def failed(kind: type[exception.BlockmirrorError], swap_id: str | None = 'swap') -> Exception:
    error = kind('reason')
    error.swap_id = swap_id
    return error


class AttemptsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.state = SwapState.REVERTED
        self.asked: list[str] = []
        self.told: list[str] = []
        self.tries = 0

    def attempts(self, most: int, interval: float = SOON) -> Attempts:
        service = SimpleNamespace(
            record=lambda _id: SimpleNamespace(state=self.state),
            cancel_local=lambda: self.asked.append('cancel'),
            leave=lambda: self.asked.append('leave'),
        )
        return Attempts(cast(SwapService, service), most, interval, self.told.append)

    def once(self, *outcomes: Any) -> Callable[[], Any]:
        remaining = list(outcomes)

        def run() -> Any:
            self.tries += 1
            outcome = remaining.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return run

    def test_one_is_the_default_and_all(self) -> None:
        once = self.once(failed(exception.CopyFailed))
        self.assertRaises(exception.CopyFailed, self.attempts(1).run, once)
        self.assertEqual([], self.told)

    def test_until_it_succeeds(self) -> None:
        """A destination that is not back yet counts as an attempt, once it was good."""
        once = self.once(
            failed(exception.Stalled),
            failed(exception.DestinationUnusable, None),
            failed(exception.DestinationSilent, None),
            failed(exception.CopyFailed),
            'done',
        )
        self.assertEqual('done', self.attempts(5).run(once))
        self.assertEqual(4, len(self.told))
        self.assertIn('attempt 2 of 5 failed: reason', self.told[1])

    def test_often_enough(self) -> None:
        once = self.once(*(failed(exception.CopyFailed) for _ in range(3)))
        self.assertRaises(exception.CopyFailed, self.attempts(3).run, once)
        self.assertEqual(3, self.tries)

    def test_never(self) -> None:
        for kind in (
            exception.GuestGone,
            exception.JobLost,
            exception.Cancelled,
            exception.NotConverging,
            exception.StateUnknown,
            exception.DestinationUnusable,
            exception.DiskBusy,
        ):
            self.tries = 0
            self.assertRaises(kind, self.attempts(9).run, self.once(failed(kind)))
            self.assertEqual(1, self.tries, kind.__name__)

    def test_not_while_the_one_before_is_still_ending(self) -> None:
        self.state = SwapState.CANCELLING
        once = self.once(failed(exception.Stalled))
        self.assertRaises(exception.Stalled, self.attempts(9).run, once)

    def test_not_without_a_swap(self) -> None:
        once = self.once(failed(exception.CopyFailed, None))
        self.assertRaises(exception.CopyFailed, self.attempts(9).run, once)

    def test_told_to_stop(self) -> None:
        for ask in ('cancel_local', 'leave'):
            attempts = self.attempts(9, interval=3600.0)
            self.told = []

            def stop(_text: object, how: str = ask, whom: Attempts = attempts) -> None:
                getattr(whom, how)()

            attempts._tell = stop
            once = self.once(failed(exception.CopyFailed))
            self.assertRaises(exception.Cancelled, attempts.run, once)
        self.assertEqual(['cancel', 'leave'], self.asked)

    def test_told_to_stop_during_an_attempt(self) -> None:
        attempts = self.attempts(9)
        attempts.cancel_local()
        once = self.once(failed(exception.CopyFailed))
        self.assertRaises(exception.CopyFailed, attempts.run, once)
