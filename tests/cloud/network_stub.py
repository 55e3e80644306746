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
"""A Network API that has nothing: Nova asks it for ports even for servers without networks.

Run as ``python network_stub.py PORT``; only the standard library is used.
"""

import http.server
import json
import re
import sys
from typing import Any

_PATH = re.compile(r'/v2\.0/([a-z-]+)(?:/([^/?]+))?')
_UNLIMITED = ('network', 'subnet', 'port', 'router', 'floatingip', 'security_group')


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every list with none, and refuses whatever would make something."""

    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        """Answer a list, a quota, or the versions."""
        found = _PATH.match(self.path)
        if not found:
            port = self.connection.getsockname()[1]
            link = {'rel': 'self', 'href': f'http://127.0.0.1:{port}/v2.0/'}
            self._say(200, {'versions': [{'id': 'v2.0', 'status': 'CURRENT', 'links': [link]}]})
        elif found[1] == 'quotas':
            self._say(200, {'quota': dict.fromkeys(_UNLIMITED, -1)})
        elif found[2]:
            self._refuse(404, 'NotFound')
        else:
            self._say(200, {found[1].replace('-', '_'): []})

    def do_DELETE(self) -> None:
        """Agree that it is gone."""
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        """Refuse."""
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self._refuse(409, 'Conflict')

    do_PUT = do_POST  # noqa: N815 - the same

    def _refuse(self, code: int, kind: str) -> None:
        told = {'type': kind, 'message': 'there is no network service', 'detail': ''}
        self._say(code, {'NeutronError': told})

    def _say(self, code: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == '__main__':
    http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
