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
"""``blockmirror audit``: a row for each disk, and an exit code that says who has to act."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from blockmirror_driver.swap.audit import DiskFacts, Finding, Records, Repair
from blockmirror_driver.swap.auditor import Row
from tests.unit.cli import fakes

FACTS = DiskFacts(
    'guest', 'uuid-1', 'vda', None, None, records=Records('vol', attached_volume_id='vol')
)
OPERATOR = Finding('two volumes', 'look at both')
OURS = Finding('a mark is left', 'blockmirror audit --repair', Repair.UNMARK)


class TestAudit(fakes.CommandTestCase):
    def audit(self, *rows: Row, words: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]]]:
        def answer(domain: str, **asked: Any) -> tuple[Row, ...]:
            self.domain, self.asked = domain, asked
            return rows

        with mock.patch.object(fakes.FakeService, 'audit', side_effect=answer, create=True):
            ran = self.run_command('audit', '-f', 'json', *words)
        return ran.code, json.loads(ran.out)

    def test_all_agree(self) -> None:
        code, (row,) = self.audit(Row(FACTS))
        self.assertEqual(0, code)
        self.assertEqual(('agrees', 'guest', 'vda', 'vol', 'vol'), picked(row))
        self.assertEqual({'repair': False, 'records_of': None}, self.asked)
        self.assertEqual('', self.domain)
        self.assertTrue(self.service.read_only)

    def test_one_guest(self) -> None:
        """Only it is audited, so that nothing of another is mended."""
        self.audit(Row(FACTS), words=('guest', '--repair'))
        self.assertEqual('guest', self.domain)
        self.assertFalse(self.service.read_only)

    def test_what_only_an_operator_can_mend(self) -> None:
        code, rows = self.audit(Row(FACTS, (OPERATOR, OURS)))
        self.assertEqual(7, code)
        self.assertEqual(['two volumes', 'a mark is left'], [row['detail'] for row in rows])
        self.assertEqual({'disagrees'}, {row['result'] for row in rows})

    def test_what_is_only_not_clean(self) -> None:
        self.assertEqual(8, self.audit(Row(FACTS, (OURS,)))[0])
        code, (row,) = self.audit(Row(None, (OURS,)))
        self.assertEqual((8, 'left over'), (code, row['result']))

    def test_repair(self) -> None:
        code, (row,) = self.audit(Row(FACTS, (), (OURS,)), words=('--repair',))
        self.assertEqual((0, 'repaired'), (code, row['result']))
        self.assertTrue(self.asked['repair'])

    def test_nova_config_without_a_nova(self) -> None:
        with mock.patch('importlib.util.find_spec', return_value=None):
            ran = self.run_command('audit', '--nova-config', '/etc/nova/nova.conf')
        self.assertEqual(2, ran.code)
        self.assertIn('no Nova in this environment', ran.err)


def picked(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ('result', 'domain', 'disk', 'mapping', 'attachment'))
