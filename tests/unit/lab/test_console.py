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
import pathlib
import socket
import tempfile
import threading
import unittest

from tests.lab.guest.console import AgentError, AgentSilent, Console
from tests.lab.guest.domain import Domain


class ConsoleTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = pathlib.Path(directory.name, 'sock')
        self.server = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.server.close)
        self.server.bind(str(path))
        self.server.listen(1)
        self.console = Console(path)
        self.addCleanup(self.console.close)

    def serve(self, *replies: bytes) -> None:
        """Answer each command with one of these, from another thread."""

        def answer() -> None:
            client, _ = self.server.accept()
            with client:
                for reply in replies:
                    client.recv(1000)
                    client.sendall(reply)
                client.recv(1000)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(self.console.close)

    def test_echoes_and_late_answers_are_passed_over(self) -> None:
        self.serve(b'1 size vda\r\nnoise\n{"id":99}\n[1]\n{"id":1,"by', b'tes":5}\n{"id":2}\n')
        with self.assertRaises(AgentSilent):
            self.console.ask('size', 'vda', timeout_s=0.2)
        self.assertEqual({'id': 2}, self.console.ask('ping', timeout_s=10))

    def test_a_refusal_has_its_number(self) -> None:
        self.serve(b'{"id":1,"error":"size","errno":2}\n')
        with self.assertRaises(AgentError) as caught:
            self.console.ask('size', 'vdz', timeout_s=10)
        self.assertEqual(2, caught.exception.errno)

    def test_nobody_there_is_silence(self) -> None:
        with self.assertRaises(AgentSilent):
            Console(pathlib.Path('/nonexistent/sock')).ask('ping', timeout_s=1)


class DomainTest(unittest.TestCase):
    def test_the_kernel_counts_each_kind_of_disk(self) -> None:
        disks = [f"<disk><target dev='{dev}' bus='x'/></disk>" for dev in ('vdc', 'sda', 'vdd')]
        self.assertEqual(['vda', 'sda', 'vdb'], Domain('a', disks).devices_inside())
