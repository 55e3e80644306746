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
"""The audit as a command beside nova-compute, which asks Nova's conductor and Cinder itself."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.cloud.base import CloudTestCase

#: VIR_DOMAIN_XML_SECURE and _INACTIVE.
_STORED = 3


class AuditTest(CloudTestCase):
    def audit(self) -> tuple[int, list[dict[str, Any]]]:
        """Its exit code and its rows."""
        conf = self.api.site.etc / 'nova' / 'nova-compute.conf'
        argv = ['blockmirror', 'audit', '--journal', str(self.api.site.journal), '-f', 'json']
        argv += ['--nova-config', str(conf)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        self.assertIn(done.returncode, (0, 7), done.stderr)
        return done.returncode, json.loads(done.stdout)

    def test_a_moved_volume_and_a_stored_xml_that_lies(self) -> None:
        server = self.server()
        volume, dev = self.attached(server, 'rbd1')
        self.writing(server, dev)
        self.api.retype(volume, 'rbd2')
        volume = self.assert_moved(server, volume, dev, 'rbd2')
        code, rows = self.audit()
        mine = [row for row in rows if row['domain'] == server.domain.name()]
        self.assertEqual(
            ['agrees'], [row['result'] for row in mine if row['disk'] == dev], str(rows)
        )
        self.assertEqual(0, code, str(rows))
        stored = server.domain.XMLDesc(_STORED)
        define = server.domain.connect().defineXML
        self.addCleanup(define, stored)
        define(stored.replace(volume.name_id, '00000000-0000-4000-8000-000000000000'))
        code, rows = self.audit()
        self.assertEqual(7, code, str(rows))
        (row,) = [row for row in rows if (row['domain'], row['disk']) == (mine[0]['domain'], dev)]
        self.assertEqual('disagrees', row['result'])
