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
"""Stands before cinder-api, and refuses what a test names, or loses the answer to it."""

from __future__ import annotations

import dataclasses
import enum
import http.client
import http.server
import re
import threading
from typing import Any

from tests.cloud import site as places

PORT = 18776
URL = f'http://{places.HOST}:{PORT}'
#: Headers of one connection only (RFC 9110, section 7.6.1), or made anew.
_HOP = frozenset({'connection', 'transfer-encoding', 'keep-alive', 'content-length', 'host'})
_TIMEOUT_S = 120.0

#: What nova-compute tells Cinder after a swap: method, path and body, as :attr:`Call.text` has it.
COMPLETE = r'POST \S*/attachments/\S+/action .*os-complete'
DELETE = r'DELETE \S*/attachments/'
COMPLETION = r'POST \S*/volumes/\S+/action .*os-migrate_volume_completion'


class Fault(enum.Enum):
    """What becomes of a call."""

    REFUSED = 'refused'
    """Cinder never sees it; the client is answered 503."""

    DROPPED = 'dropped'
    """Cinder serves it; the client's connection ends without an answer."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A call that came.

    :ivar text: method, path and body
    :ivar status: what Cinder answered; 0 if it was not asked
    """

    text: str
    status: int
    fault: Fault | None


class Proxy:
    """Serves from :meth:`start` to :meth:`stop`. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[str, Fault, int]] = []
        self._calls: list[Call] = []
        handler = type('Handler', (_Handler,), {'proxy': self})
        self._server = http.server.ThreadingHTTPServer((places.HOST, PORT), handler)

    def start(self) -> None:
        """Serve in the background."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Take no more calls."""
        self._server.shutdown()
        self._server.server_close()

    def fail(self, pattern: str, fault: Fault, times: int) -> None:
        """Let the next calls that match go wrong, that many of them."""
        with self._lock:
            self._rules.append((pattern, fault, times))

    def fault(self, text: str) -> Fault | None:
        """What shall become of a call; it is counted."""
        with self._lock:
            for number, (pattern, fault, times) in enumerate(self._rules):
                if times and re.match(pattern, text):
                    self._rules[number] = (pattern, fault, times - 1)
                    return fault
        return None

    def note(self, call: Call) -> None:
        """Keep what came of a call."""
        with self._lock:
            self._calls.append(call)

    def calls(self, pattern: str) -> list[Call]:
        """The calls that match, in order."""
        with self._lock:
            return [one for one in self._calls if re.match(pattern, one.text)]


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection; its class has the proxy."""

    proxy: Proxy

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        text = f'{self.command} {self.path} {body.decode(errors="replace")}'
        fault = self.proxy.fault(text)
        self.close_connection = True
        if fault is Fault.REFUSED:
            self.proxy.note(Call(text, 0, fault))
            self.send_response(503)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        answer, content = self._forward(body)
        self.proxy.note(Call(text, answer.status, fault))
        if fault is Fault.DROPPED:
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP | {'server', 'date'}:
                self.send_header(name, value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _forward(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        client = http.client.HTTPConnection(places.HOST, places.CINDER, timeout=_TIMEOUT_S)
        given = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        try:
            client.request(self.command, self.path, body or None, given)
            answer = client.getresponse()
            return answer, answer.read()
        finally:
            client.close()

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - http.server's names
