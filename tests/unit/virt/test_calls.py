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
"""The pool: what hangs is left, counted, and never waited for."""

from __future__ import annotations

import queue
import subprocess
import sys
import textwrap
import threading

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.virt.calls import CallPool, beside

SOON = Seconds(0.01)
LONG = Seconds(30.0)


def _my_name() -> str:
    return threading.current_thread().name


class TestCallPool(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pool = CallPool(2, per_key=1)
        self.release = threading.Event()
        self.addCleanup(self.release.set)

    def hang(self, name: str = 'hang', key: str | None = None) -> None:
        """Leave a call hanging in the pool."""
        error = self.assertRaises(
            exception.HypervisorUnavailable,
            self.pool.call,
            name,
            self.release.wait,
            timeout=SOON,
            key=key,
        )
        self.assertTrue(error.outcome_unknown)

    def test_returns_the_value(self) -> None:
        self.assertEqual(5, self.pool.call('add', lambda a, b: a + b, 2, 3, timeout=LONG))

    def test_raises_what_was_raised(self) -> None:
        boom = RuntimeError('boom')

        def fail() -> None:
            raise boom

        self.assertIs(
            boom, self.assertRaises(RuntimeError, self.pool.call, 'f', fail, timeout=LONG)
        )

    def test_runs_in_a_daemon_thread(self) -> None:
        thread = self.pool.call('who', threading.current_thread, timeout=LONG)
        self.assertTrue(thread.daemon)
        self.assertEqual('blockmirror-who', thread.name)

    def test_a_thread_that_is_done_takes_the_next_call(self) -> None:
        first, second = (
            self.pool.call('who', threading.get_ident, timeout=LONG) for _number in range(2)
        )
        self.assertEqual(first, second)

    def test_a_thread_that_hangs_takes_none(self) -> None:
        self.hang('one')
        self.assertEqual('blockmirror-two', self.pool.call('two', _my_name, timeout=LONG))
        self.assertEqual(('one',), tuple(call.name for call in self.pool.hanging))

    def test_a_thread_without_calls_ends(self) -> None:
        self.useFixture(fixtures.MockPatch('blockmirror_driver.virt.calls.IDLE', SOON))
        thread = self.pool.call('who', threading.current_thread, timeout=LONG)
        thread.join(LONG)
        self.assertFalse(thread.is_alive())
        self.assertEqual('blockmirror-who', self.pool.call('who', _my_name, timeout=LONG))

    def test_beside(self) -> None:
        begun = threading.Event()

        def wait() -> bool:
            begun.set()
            return self.release.wait(LONG)

        future = beside(wait)
        self.assertTrue(begun.wait(LONG))
        self.release.set()
        self.assertTrue(future.result(LONG))
        self.assertRaises(ZeroDivisionError, beside(lambda: 1 // 0).result, LONG)

    def test_what_hangs_is_counted_until_it_returns(self) -> None:
        returned = threading.Event()

        def slow() -> None:
            self.release.wait()
            returned.set()

        self.assertRaises(
            exception.HypervisorUnavailable, self.pool.call, 'slow', slow, timeout=SOON
        )
        self.assertEqual(['slow'], [call.name for call in self.pool.hanging])
        self.release.set()
        self.assertTrue(returned.wait(LONG))
        # A call admitted afterwards proves that the place is free again, twice over.
        for _ in range(2):
            self.pool.call('next', lambda: None, timeout=LONG)

    def test_all_places_hanging_refuses_at_once_without_calling(self) -> None:
        self.hang('one')
        self.hang('two')
        called: list[int] = []
        error = self.assertRaises(
            exception.HypervisorUnavailable, self.pool.call, 'x', called.append, 1, timeout=LONG
        )
        self.assertFalse(error.outcome_unknown)
        self.assertIn('one, two', str(error))
        self.assertEqual([], called)

    def test_waiting_for_a_place_is_no_part_of_the_call(self) -> None:
        """With patience the timeout begins when there is a place."""
        pool = CallPool(1)
        begun = threading.Event()

        def occupy() -> None:
            begun.set()
            self.release.wait()

        busy = threading.Thread(
            target=pool.call, args=('busy', occupy), kwargs={'timeout': LONG}, daemon=True
        )
        busy.start()
        self.assertTrue(begun.wait(LONG))
        error = self.assertRaises(
            exception.HypervisorUnavailable,
            pool.call, 'x', int, timeout=LONG, patience=Seconds(0.0),
        )  # fmt: skip
        self.assertIn('stayed taken', str(error))
        told: queue.SimpleQueue[int] = queue.SimpleQueue()

        def wait_for_it() -> None:
            told.put(pool.call('x', int, timeout=LONG, patience=LONG))

        waiting = threading.Thread(target=wait_for_it, daemon=True)
        waiting.start()
        self.release.set()
        self.assertEqual(0, told.get(timeout=LONG))
        busy.join()
        waiting.join()

    def test_one_key_can_not_take_every_place(self) -> None:
        self.hang(key='guest-a')
        self.assertRaises(
            exception.HypervisorUnavailable,
            self.pool.call,
            'x',
            int,
            timeout=LONG,
            key='guest-a',
        )
        self.assertEqual(0, self.pool.call('x', int, timeout=LONG, key='guest-b'))

    def test_waits_behind_calls_that_are_merely_under_way(self) -> None:
        """A place taken by a call within its own timeout is worth waiting for."""
        pool, started = CallPool(1), threading.Event()

        def busy() -> None:
            started.set()
            self.release.wait()

        first = threading.Thread(target=pool.call, args=('busy', busy), kwargs={'timeout': LONG})
        first.start()
        self.assertTrue(started.wait(LONG))
        answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        second = threading.Thread(
            target=lambda: answers.put(pool.call('next', int, timeout=LONG)), daemon=True
        )
        second.start()
        self.release.set()
        self.assertEqual(0, answers.get(timeout=LONG))
        first.join()
        second.join()

    def test_no_place_in_time_is_not_an_unknown_outcome(self) -> None:
        pool, started = CallPool(1), threading.Event()

        def busy() -> None:
            started.set()
            self.release.wait()

        first = threading.Thread(target=pool.call, args=('busy', busy), kwargs={'timeout': LONG})
        first.start()
        self.assertTrue(started.wait(LONG))
        error = self.assertRaises(
            exception.HypervisorUnavailable, pool.call, 'x', int, timeout=SOON
        )
        self.assertFalse(error.outcome_unknown)
        self.release.set()
        first.join()

    def test_a_hanging_call_does_not_hold_up_the_exit(self) -> None:
        """The interpreter ends by itself with a call still under way."""
        script = textwrap.dedent("""
            import threading
            from blockmirror_driver import exception
            from blockmirror_driver.virt.calls import CallPool
            try:
                CallPool().call('hang', threading.Event().wait, timeout=0.01)
            except exception.HypervisorUnavailable as error:
                print(error.outcome_unknown)
        """)
        done = subprocess.run(
            [sys.executable, '-c', script], capture_output=True, text=True, timeout=60, check=True
        )
        self.assertEqual('True\n', done.stdout)
        self.assertEqual('', done.stderr)
