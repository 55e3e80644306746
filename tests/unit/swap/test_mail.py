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
"""Swaps that wait are woken when somebody asks something of them."""

from __future__ import annotations

import functools
import queue
import threading

import fixtures
import testtools

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds
from blockmirror_driver.swap.mail import Mail

LONG = 30.0


class MailTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(fixtures.MockPatch('blockmirror_driver.swap.mail.EVERY', Seconds(0.01)))
        self.waiting: dict[str, int] = {}
        self.errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self.looked: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.closed = threading.Event()
        self.mail = Mail(self._look, self.closed.set)
        self.woken: queue.SimpleQueue[str] = queue.SimpleQueue()
        for name in ('one', 'two'):
            self.mail.deliver(name, functools.partial(self.woken.put, name))
            self.addCleanup(self.mail.stop, name)

    def _look(self) -> dict[str, int]:
        self.looked.put(None)
        if not self.errors.empty():
            raise self.errors.get()
        return dict(self.waiting)

    def looks(self, count: int) -> None:
        """Wait for so many whole looks."""
        while not self.looked.empty():
            self.looked.get()
        for _number in range(count + 1):
            self.looked.get(timeout=LONG)

    def test_who_is_asked_is_woken_once(self) -> None:
        self.looks(1)
        self.assertTrue(self.woken.empty())
        self.waiting = {'two': 5, 'three': 6}
        self.assertEqual('two', self.woken.get(timeout=LONG))
        self.looks(2)
        self.assertTrue(self.woken.empty())
        self.waiting = {'two': 7}
        self.assertEqual('two', self.woken.get(timeout=LONG))

    def test_a_journal_that_can_not_be_read_is_read_again(self) -> None:
        self.errors.put(exception.JournalUnusable('not now'))
        self.waiting = {'one': 1}
        self.assertEqual('one', self.woken.get(timeout=LONG))

    def test_nobody_looks_when_there_is_nobody_to_wake(self) -> None:
        self.mail.stop('one')
        self.looks(1)
        self.assertFalse(self.closed.is_set())
        self.mail.stop('two')
        self.assertTrue(self.closed.wait(LONG))
        self.waiting = {'one': 1}
        self.mail.deliver('one', lambda: self.woken.put('again'))
        self.assertEqual('again', self.woken.get(timeout=LONG))
