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
"""The line to the agent in the guest: a unix socket behind its second serial port."""

import json
import pathlib
import socket
import time
from typing import Any

from tests.lab.deadline import INTERVAL_S
from tests.lab.layout import LabError

#: How often an answer to the first "ping" is given up and asked for again, in seconds.
_PING_S = 0.5


class AgentError(LabError):
    """The agent refused a command, or failed in it.

    :ivar errno: error number in the guest; 0 if there is none
    """

    def __init__(self, what: str, errno: int) -> None:
        super().__init__('agent', f'{what} (errno {errno})')
        self.errno = errno


class AgentSilent(LabError):
    """No answer in time: the guest is frozen, or gone."""

    def __init__(self, what: str) -> None:
        super().__init__('agent', what)


class Console:
    """One client of the agent; QEMU serves one at a time, so close it when done.

    Not for use by two threads at once.  An answer that comes after its deadline is dropped.

    :param address: of the serial port: a unix socket, or host and TCP port
    """

    def __init__(self, address: pathlib.Path | tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._buffer = b''
        self._last_id = 0

    def wait_ready(self, seconds: float) -> None:
        """Wait until the agent answers.

        :raise AgentSilent: it does not within `seconds`
        """
        end = time.monotonic() + seconds
        while True:
            try:
                self.ask('ping', timeout_s=_PING_S)
            except AgentSilent:
                if time.monotonic() >= end:
                    raise
                time.sleep(INTERVAL_S)  # a refused connection comes back at once
            else:
                return

    def ask(self, *words: object, timeout_s: float = 30) -> dict[str, Any]:
        """Send a command and return the answer.

        :raise AgentError: the agent refused it
        :raise AgentSilent: no answer within `timeout_s`, or the guest is gone
        """
        end = time.monotonic() + timeout_s
        self._last_id += 1
        text = ' '.join(str(one) for one in (self._last_id, *words))
        try:
            line = self._connect(end)
            line.settimeout(max(end - time.monotonic(), 0.01))
            line.sendall(text.encode() + b'\n')
            answer = self._answer(line, end)
        except OSError as exc:
            if not isinstance(exc, TimeoutError):
                self.close()
            raise AgentSilent(f'no answer to {words[0]!r} within {timeout_s:g} s') from exc
        if 'error' in answer:
            raise AgentError(f'{text!r}: {answer["error"]}', int(answer.get('errno', 0)))
        return answer

    def close(self) -> None:
        """Hang up; the next command connects again."""
        if self._socket:
            self._socket.close()
        self._socket, self._buffer = None, b''

    def _connect(self, end: float) -> socket.socket:
        if self._socket is None:
            place = self._address
            address = str(place) if isinstance(place, pathlib.Path) else place
            made = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            made.settimeout(max(end - time.monotonic(), 0.01))
            try:
                made.connect(address)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def _answer(self, line: socket.socket, end: float) -> dict[str, Any]:
        """The line that answers the last command; echoes and late answers are passed over."""
        while True:
            while b'\n' in self._buffer:
                text, self._buffer = self._buffer.split(b'\n', 1)
                try:
                    told = json.loads(text)
                except ValueError:
                    continue
                if isinstance(told, dict) and told.get('id') == self._last_id:
                    return told
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            line.settimeout(left)
            data = line.recv(65536)
            if not data:
                raise ConnectionResetError('the guest has hung up')
            self._buffer += data
