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
"""``blockmirror audit``."""

from __future__ import annotations

import argparse
import importlib.util
from typing import TYPE_CHECKING

from blockmirror_driver import exception
from blockmirror_driver.cli.base import TableCommand
from blockmirror_driver.cli.recovery import worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blockmirror_driver.swap.auditor import RecordsOf, Row
    from blockmirror_driver.xml.domain import DomainDisk

COLUMNS = (
    'domain',
    'disk',
    'live',
    'stored',
    'serial',
    'mapping',
    'attachment',
    'result',
    'detail',
    'fix',
)

Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


class Audit(TableCommand):
    """Compare what libvirt, the journal, Nova and Cinder say of each guest's disks.

    Changes nothing without --repair, which mends only what the journal proves. Exit code 0
    when all agree, 8 when only cleaning up is left, 7 when an operator must look.
    """

    columns = COLUMNS
    changes = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Add the domain and the ways."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'domain', metavar='DOMAIN', nargs='?', help='name or UUID of one guest; all by default'
        )
        parser.add_argument(
            '--repair',
            action='store_true',
            help='mend what is safe: a stored XML that names what a swap of ours left, marks of '
            'swaps that have ended, secrets of ours that nothing needs',
        )
        parser.add_argument(
            '--nova-config',
            metavar='FILE',
            action='append',
            default=[],
            help="nova-compute's configuration; may be repeated. Nova's mapping and Cinder's "
            'attachment are compared as well',
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Audit, and list a row for each disk and each thing that disagrees."""
        self.app.read_only = not parsed_args.repair
        # Our own configuration is read by this, and Nova's takes its place then: one process
        # has one.
        service = self.app.service
        records_of = _records_of(parsed_args.nova_config)
        found = service.audit(
            parsed_args.domain or '', repair=parsed_args.repair, records_of=records_of
        )
        self.exit_code = worst(code for row in found for code in row.exit_codes)
        return COLUMNS, [line for row in found for line in _lines(row)]


def _records_of(config_files: list[str]) -> RecordsOf | None:
    if not config_files:
        return None
    if importlib.util.find_spec('nova') is None:
        raise exception.UsageError(
            '--nova-config: there is no Nova in this environment',
            hint='use the blockmirror command of the environment of nova-compute',
        )
    # Late: Nova is there only beside nova-compute.
    from blockmirror_driver.nova import audit

    return audit.standalone(config_files)


def _lines(row: Row) -> Iterator[tuple[str, ...]]:
    columns = _columns(row)
    for finding in row.repaired:
        yield (*columns, 'repaired', finding.text, '')
    for finding in row.findings:
        yield (*columns, 'disagrees' if row.facts else 'left over', finding.text, finding.fix)
    if not row.findings and not row.repaired:
        yield (*columns, 'agrees', '', '')


def _columns(row: Row) -> tuple[str, ...]:
    facts = row.facts
    if facts is None:
        return ('',) * 7
    records = facts.records
    return (
        facts.domain_name,
        facts.dev,
        _named(facts.live),
        _named(facts.stored),
        facts.serial,
        records.volume_id if records else '',
        records.attached_volume_id if records else '',
    )


def _named(disk: DomainDisk | None) -> str:
    return disk.disk.source.describe() if disk else ''
