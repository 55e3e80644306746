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
"""``blockmirror copy``: the options of ``virsh blockcopy``, one for one."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import unittest
from pathlib import Path
from typing import Any

from lxml import etree

from blockmirror_driver import exception
from blockmirror_driver.cli.app import BlockmirrorApp
from blockmirror_driver.cli.blockcopy import Copy
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.model import BlockSource, Disk, FileSource, RbdSource
from blockmirror_driver.swap.request import Ending, SwapRequest
from blockmirror_driver.swap.states import SwapState
from tests.unit.cli import fakes

#: The options of virsh 12.8's blockcopy and the kinds of their values, as the documentation's
#: table has them: what ``virsh help blockcopy`` tells.
TABLE = Path(__file__).parents[3] / 'doc' / 'source' / 'cli' / 'virsh-blockcopy.txt'
VIRSH = {line.partition(' ')[0]: line.partition(' ')[2] for line in TABLE.read_text().splitlines()}

#: Those that older ones don't have.
NEWER = {'--dest-is-zero'}


class CopyTestCase(fakes.CommandTestCase):
    def copy(self, *argv: str) -> SwapRequest:
        self.service.requests.clear()
        ran = self.run_command('copy', 'guest', 'vda', *argv)
        self.assertEqual(0, ran.code, ran.err)
        return self.service.requests[0]

    def print_xml(self, *argv: str) -> etree._Element:
        ran = self.run_command('copy', 'guest', 'vda', *argv, '--print-xml')
        self.assertEqual((0, ''), (ran.code, ran.err))
        self.assertEqual([], self.service.requests)
        return etree.fromstring(ran.out)


class TestCopy(CopyTestCase):
    def test_help_names_every_option_and_what_libvirt_is_sent(self) -> None:
        text = self.run_command('help', 'copy').out
        for option in VIRSH:
            self.assertIn(f'{option}', text)
        folded = re.sub(r'\s+', '', text)
        for name in (
            'BANDWIDTH',
            'GRANULARITY',
            'BUF_SIZE',
            'SHALLOW',
            'REUSE_EXT',
            'TRANSIENT_JOB',
            'SYNCHRONOUS_WRITES',
            'TARGET_ZEROED',
        ):
            self.assertIn(f'VIR_DOMAIN_BLOCK_COPY_{name}', folded)

    @unittest.skipUnless(shutil.which('virsh'), 'virsh is not installed')
    def test_the_installed_virsh_has_no_other_option(self) -> None:
        ran = subprocess.run(
            ['virsh', 'help', 'blockcopy'], capture_output=True, text=True, check=True
        )
        told = re.findall(r'^    (?:\[)?(--[a-z-]+)\]?(?: (<\w+>))?', ran.stdout, re.MULTILINE)
        # Ours are the positional DOMAIN and DISK only.
        theirs = {k: v for k, v in told if k not in ('--domain', '--path')}
        self.assertEqual(VIRSH, dict.fromkeys(NEWER & VIRSH.keys(), '') | theirs)

    def test_each_takes_a_value_where_virsh_s_does(self) -> None:
        app = BlockmirrorApp()
        parser = Copy(app, None).get_parser('copy')
        known = {name: action for action in parser._actions for name in action.option_strings}
        for option, value in VIRSH.items():
            with self.subTest(option):
                self.assertEqual(bool(value), known[option].nargs != 0)

    def test_each_option_is_what_is_sent(self) -> None:
        plain = dataclasses.replace(CopyOptions(), reuse_external=False)
        cases: list[tuple[list[str], dict[str, Any]]] = [
            ([], {}),
            (['--bandwidth', '5'], {'bandwidth': 5 << 20}),
            (['--bandwidth', '5', '--bytes'], {'bandwidth': 5}),
            (['--granularity', '4096'], {'granularity': 4096}),
            (['--buf-size', '65536'], {'buf_size': 65536}),
            (['--shallow'], {'shallow': True}),
            (['--reuse-external'], {'reuse_external': True}),
            (['--transient-job'], {'transient_job': True}),
            (['--no-transient-job'], {'transient_job': False}),
            (['--synchronous-writes'], {'synchronous_writes': True}),
            (['--dest-is-zero'], {'target_zeroed': True}),
            (['--target-zeroed'], {'target_zeroed': True}),
            (['--timeout', '7'], {'copy_timeout': 7.0}),
            (['--wait', '--async'], {'abort_timeout': 1.0}),
            (['--method', 'rebase'], {'method': 'rebase'}),
        ]
        for argv, changes in cases:
            options = self.copy('/new.raw', *argv).options
            self.assertEqual(dataclasses.replace(plain, **changes), options, str(argv))

    def test_another_attempt_does_not_take_it_for_zeroed(self) -> None:
        self.service.row = fakes.record(SwapState.REVERTED)
        self.service.result = exception.CopyFailed('reason')
        self.service.result.swap_id = fakes.SWAP_ID
        again = ('--attempts', '3', '--attempt-interval', '0.001')
        ran = self.run_command('copy', 'guest', 'vda', '/new.raw', '--dest-is-zero', *again)
        self.assertEqual(6, ran.code)
        told = [one.options.target_zeroed for one in self.service.requests]
        self.assertEqual([True, False, False], told)

    def test_the_destination_may_stand_anywhere(self) -> None:
        for argv in (
            ['--wait', '/new.raw', '--pivot'],
            ['--bandwidth', '5', '/new.raw'],
            ['/new.raw', '--shallow'],
        ):
            self.assertEqual(FileSource('/new.raw'), self.copy(*argv).destination.source)

    def test_how_it_ends(self) -> None:
        for argv, ending, hold in (
            ([], Ending.ASYNC, False),
            (['--wait'], Ending.PIVOT, True),
            (['--timeout', '5'], Ending.PIVOT, True),
            (['--pivot'], Ending.PIVOT, False),
            (['--wait', '--pivot'], Ending.PIVOT, False),
            (['--finish', '--timeout', '5'], Ending.FINISH, False),
        ):
            request = self.copy('/new.raw', *argv)
            self.assertEqual((ending, hold), (request.ending, request.hold), str(argv))

    def test_wait_alone_returns_when_mirroring_with_the_job_running(self) -> None:
        self.service.events = [
            fakes.event('ready', SwapState.READY),
            fakes.event('state', SwapState.HELD),
        ]
        self.service.result = fakes.outcome(SwapState.HELD, 130)
        ran = self.run_command('copy', 'guest', 'vda', '/new.raw', '--wait')
        self.assertEqual(0, ran.code)
        self.assertIn(('leave',), self.service.calls)

    def test_an_interrupted_wait_is_130(self) -> None:
        self.service.events = [fakes.event('start', SwapState.COPYING)]
        self.service.result = fakes.outcome(SwapState.COPYING, 130)
        ran = self.run_command('copy', 'guest', 'vda', '/new.raw', '--wait')
        self.assertEqual(130, ran.code)

    def test_progress_is_shown_with_verbose_only(self) -> None:
        self.service.events = [fakes.event('start', SwapState.COPYING, detail='it began')]
        for argv, shown in (([], False), (['--verbose'], True)):
            ran = self.run_command('copy', 'guest', 'vda', '/new.raw', '--pivot', *argv)
            self.assertEqual(shown, 'it began' in ran.err)

    def test_combinations_that_virsh_refuses(self) -> None:
        info = self.file('c.json', fakes.RBD)
        for argv in (
            (),
            ('/a', '--xml', 'b.xml'),
            ('/a', '--dest', '/b'),
            ('/a', '--verbose'),
            ('/a', '--async'),
            ('/a', '--pivot', '--finish'),
            ('/a', '--timeout', '0'),
            ('/a', '--granularity', 'abc'),
            ('/a', '--granularity', '3000'),
            ('/a', '--buf-size', '1K'),
            ('/a', '--bandwidth', '-1'),
            ('/a', '--bandwidth', str(1 << 44)),
            ('/a', '--format', 'vmdk'),
            ('--xml', 'b.xml', '--format', 'raw'),
            ('--xml', 'b.xml', '--blockdev'),
            (info, '--format', 'raw'),
        ):
            self.refused(2, 'copy', 'guest', 'vda', *argv)
        self.assertEqual([], self.service.requests)


class TestDestination(CopyTestCase):
    def destination(self, *argv: str) -> Disk:
        return self.copy(*argv).destination

    def test_a_path(self) -> None:
        disk = self.destination('/some/new.img', '--format', 'qcow2')
        self.assertEqual(FileSource('/some/new.img'), disk.source)
        self.assertEqual('qcow2', disk.driver.format)
        self.assertEqual('raw', self.destination('--dest', '/new', '--raw').driver.format)
        self.assertEqual(
            BlockSource('/dev/vg/new'), self.destination('/dev/vg/new', '--blockdev').source
        )

    def test_a_connection_info(self) -> None:
        request = self.copy(self.file('c.json', fakes.RBD))
        self.assertIsInstance(request.destination.source, RbdSource)
        self.assertTrue(request.options.reuse_external)
        self.assertEqual('vda', request.destination.target_dev)

    def test_a_disk(self) -> None:
        text = (
            "<disk type='file'><driver name='qemu' type='qcow2'/><source file='/x.img'/>"
            "<target dev='sdz'/></disk>"
        )
        path = self.file('d.xml', text)
        for argv in ([path], ['--xml', path]):
            disk = self.destination(*argv)
            self.assertEqual(FileSource('/x.img'), disk.source)
            self.assertEqual(('qcow2', 'vda'), (disk.driver.format, disk.target_dev))

    def test_content_never_decides(self) -> None:
        """A guest can write what it likes into a volume; only the name counts."""
        text = "<disk type='file'><source file='/etc/shadow'/><target dev='vda'/></disk>"
        path = self.file('volume.raw', text)
        self.assertEqual(FileSource(path), self.destination(path).source)

    def test_a_bad_disk_is_3_and_a_missing_one_2(self) -> None:
        self.refused(3, 'copy', 'guest', 'vda', self.file('d.xml', '<domain/>'))
        self.refused(3, 'copy', 'guest', 'vda', self.file('d.xml', 'no xml'))
        self.refused(2, 'copy', 'guest', 'vda', '--xml', str(self.folder / 'absent.xml'))

    def test_print_xml(self) -> None:
        disk = self.print_xml('/new.img', '--format', 'qcow2')
        self.assertEqual(['/new.img'], disk.xpath('/disk[@type="file"]/source/@file'))
        self.assertEqual(['qcow2'], disk.xpath('driver/@type'))
        disk = self.print_xml('/dev/x', '--blockdev')
        self.assertEqual(['/dev/x'], disk.xpath('/disk[@type="block"]/source/@dev'))

    def test_print_xml_shows_no_secret(self) -> None:
        path = self.file('iscsi.json', fakes.ISCSI)
        ran = self.run_command('copy', 'guest', 'vda', path, '--print-xml')
        self.assertEqual(0, ran.code, ran.err)
        self.assertNotIn(fakes.CANARY, ran.out + ran.err)
