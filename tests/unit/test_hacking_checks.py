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
"""Each of the project's own checks finds what it is for, and nothing else."""

from __future__ import annotations

import ast
import importlib.util
import unittest
from pathlib import Path
from types import ModuleType


def load() -> ModuleType:
    """Load the plugin from tools/, which is no package."""
    path = Path(__file__).resolve().parents[2] / 'tools' / 'hacking_checks.py'
    spec = importlib.util.spec_from_file_location('hacking_checks', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CHECKS = load()


def codes(source: str, filename: str = 'blockmirror_driver/mirror/engine.py') -> list[str]:
    """Return the codes found in a module of ours."""
    found = CHECKS.Checks(ast.parse(source), f'./{filename}').run()
    return [text.split()[0] for _, _, text, _ in found]


class TestChecks(unittest.TestCase):
    def test_bm301_threads_only(self) -> None:
        for source in (
            'import asyncio',
            'import asyncio.subprocess as x',
            'from asyncio import queues',
            'def f():\n    import eventlet',
            'from eventlet.green import time',
            'import os, greenlet',
        ):
            with self.subTest(source):
                self.assertEqual(['BM301'], codes(source))
        self.assertEqual([], codes('import threading, asyncio_like'))

    def test_bm302_no_sleep(self) -> None:
        for source in ('time.sleep(1)', 'from time import sleep'):
            with self.subTest(source):
                self.assertEqual(['BM302'], codes(source))
        self.assertEqual([], codes('from time import monotonic\nqueue.get(timeout=1)'))

    def test_bm303_libvirt_in_virt_only(self) -> None:
        for source in ('import libvirt', 'from libvirt import open', 'import libvirt_qemu'):
            with self.subTest(source):
                self.assertEqual(['BM303'], codes(source))
                self.assertEqual([], codes(source, 'blockmirror_driver/virt/loop.py'))

    def test_bm304_xml_in_xml_only(self) -> None:
        for source in ('from lxml import etree', 'import xml.etree.ElementTree as ET'):
            with self.subTest(source):
                self.assertEqual(['BM304'], codes(source))
                self.assertEqual([], codes(source, 'blockmirror_driver/xml/disk.py'))
        self.assertEqual([], codes('from blockmirror_driver.xml import disk'))
        self.assertEqual([], codes('from . import xml'))

    def test_bm305_secrets_stay_hidden(self) -> None:
        source = 'value = spec.value.reveal()'
        self.assertEqual(['BM305'], codes(source))
        self.assertEqual([], codes(source, 'blockmirror_driver/virt/secrets.py'))

    def test_bm306_log_arguments(self) -> None:
        for source in (
            "LOG.info(f'{x} is up')",
            "LOG.warning('%s is up' % x)",
            "LOG.log(level, '{} is up'.format(x))",
        ):
            with self.subTest(source):
                self.assertEqual(['BM306'], codes(source))
        self.assertEqual([], codes("LOG.info('%s is up', x)\nmath.log(f(x) % 2)"))

    def test_bm307_errors_of_our_tree(self) -> None:
        for source in (
            "raise ValueError('x')",
            'raise KeyError',
            'raise OSError from e',
        ):
            with self.subTest(source):
                self.assertEqual(['BM307'], codes(source))
        allowed = "raise exception.CopyFailed('x')\nraise NotImplementedError\nraise"
        self.assertEqual([], codes(allowed))

    def test_bm308_no_door_inside(self) -> None:
        for source in ('from nova.virt import driver', 'import cinder'):
            with self.subTest(source):
                self.assertEqual(['BM308'], codes(source))
        self.assertEqual([], codes('import nova.conf', 'blockmirror_driver/nova/driver.py'))
        self.assertEqual(['BM308'], codes('import cinder', 'blockmirror_driver/nova/driver.py'))

    def test_others_files_are_theirs(self) -> None:
        for filename in ('tests/unit/test_x.py', 'tools/x.py'):
            self.assertEqual([], codes('import libvirt\ntime.sleep(1)', filename))
