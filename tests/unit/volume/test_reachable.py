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
"""Which portal answers, on real sockets of this host."""

from __future__ import annotations

import socket
import threading
import unittest
from unittest import mock

from blockmirror_driver.model import Host, Seconds
from blockmirror_driver.volume import reachable

LONG = Seconds(30.0)


class TestFirstAnswering(unittest.TestCase):
    def listening(self) -> Host:
        server = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(server.close)
        return Host('127.0.0.1', server.getsockname()[1])

    def refusing(self) -> Host:
        """Bound, so that nobody else gets the port, but not listening."""
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(('127.0.0.1', 0))
        return Host('127.0.0.1', taken.getsockname()[1])

    def test_the_first_in_order(self) -> None:
        a, b = self.listening(), self.listening()
        self.assertEqual(a, reachable.first_answering([a, b], LONG))
        self.assertEqual(b, reachable.first_answering([b, a], LONG))

    def test_one_that_refuses_is_passed_over(self) -> None:
        a, b = self.refusing(), self.listening()
        self.assertEqual(b, reachable.first_answering([a, b], LONG))

    def test_none(self) -> None:
        self.assertIsNone(reachable.first_answering([self.refusing()], LONG))
        self.assertIsNone(reachable.first_answering([], LONG))

    def test_a_name_that_is_none(self) -> None:
        """Whatever the resolver makes of it, it is not an error."""
        for name in ('a..b', 'x' * 253):
            with mock.patch('socket.getaddrinfo', side_effect=UnicodeError):
                self.assertIsNone(reachable.first_answering([Host(name, 3260)], LONG))

    def test_what_hangs_is_left_behind(self) -> None:
        """A silent portal costs the time limit; one after it is found all the same."""
        silent, other = Host('192.0.2.1', 3260), self.listening()
        real = socket.create_connection
        release = threading.Event()
        self.addCleanup(release.set)

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            if address[0] == silent.name:
                release.wait()
                raise TimeoutError
            return real(address, timeout=timeout)

        with mock.patch('socket.create_connection', side_effect=connect):
            found = reachable.first_answering([silent, other], Seconds(1.0))
        self.assertEqual(other, found)
