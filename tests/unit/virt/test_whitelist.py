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
"""The stubs are the whitelist: mypy lets nothing else of libvirt be called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import libvirt
import testtools

import blockmirror_driver
from blockmirror_driver.virt import monitor

PACKAGE = Path(blockmirror_driver.__file__).parent
ROOT = PACKAGE.parent
STUB = ast.parse((ROOT / 'stubs' / 'libvirt.pyi').read_text())

#: Calls that would end, lose or change a guest; no whitelist may ever hold them.
NEVER = {
    'destroy',
    'undefine',
    'undefineFlags',
    'shutdown',
    'reset',
    'managedSave',
    'snapshotCreateXML',
    'qemuMonitorCommand',
    'migrateToURI3',
    'detachDevice',
    'detachDeviceAlias',
    'updateDeviceFlags',
    'injectNMI',
}


def stub_names() -> Iterator[tuple[object, str]]:
    """Each name of the stubs with the real object that must have it."""
    for node in STUB.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield libvirt, node.target.id
        elif isinstance(node, ast.FunctionDef):
            yield libvirt, node.name
        elif isinstance(node, ast.ClassDef):
            yield libvirt, node.name
            for inner in node.body:
                assert isinstance(inner, ast.FunctionDef)
                yield getattr(libvirt, node.name), inner.name


def stub_class(name: str) -> set[str]:
    for node in STUB.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return {inner.name for inner in node.body if isinstance(inner, ast.FunctionDef)}
    raise AssertionError(name)


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob('*.py')):
        yield path, ast.parse(path.read_text())


def users_of(*attributes: str) -> set[str]:
    """The modules in which something has one of these attributes."""
    return {
        path.name
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in attributes
    }


class TestWhitelist(testtools.TestCase):
    def test_every_name_is_in_the_real_library(self) -> None:
        missing = [name for owner, name in stub_names() if not hasattr(owner, name)]
        self.assertEqual([], missing)

    def test_every_name_is_used(self) -> None:
        used = {
            node.attr
            for path, tree in modules()
            if path.parent.name == 'virt'
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
        }
        self.assertEqual([], sorted({name for _owner, name in stub_names()} - used))

    def test_nothing_dangerous_is_on_it(self) -> None:
        self.assertEqual(set(), stub_class('virDomain') & NEVER)

    def test_only_throwaway_domains_are_destroyed(self) -> None:
        self.assertEqual({'probe.py', 'throwaway.py'}, users_of('destroyFlags'))

    def test_only_throwaway_domains_lose_a_disk(self) -> None:
        self.assertEqual({'throwaway.py'}, users_of('detachDeviceFlags'))

    def test_only_the_monitor_speaks_to_qemu(self) -> None:
        importers = {
            path.name
            for path, tree in modules()
            for node in ast.walk(tree)
            if isinstance(node, ast.Import) and any(a.name == 'libvirt_qemu' for a in node.names)
        }
        self.assertEqual({'monitor.py'}, importers)

    def test_nothing_dangerous_is_said_to_qemu(self) -> None:
        for command in monitor.COMMANDS:
            self.assertRegex(
                command,
                r'\A(query-|block-job-|blockdev-|job-|object-|add-fd|remove-fd'
                r'|getfd\Z|nbd-server-start\Z|block-export-add\Z)',
            )

    def test_only_a_comparison_stops_a_guest(self) -> None:
        self.assertEqual({'domain.py', 'contents.py'}, users_of('suspend'))

    def test_only_growing_resizes(self) -> None:
        self.assertEqual({'domain.py', 'growth.py'}, users_of('blockResize', 'resize'))

    def test_only_virt_imports_libvirt(self) -> None:
        importers = {
            path.parent.name
            for path, tree in modules()
            for node in ast.walk(tree)
            if (isinstance(node, ast.Import) and any(a.name == 'libvirt' for a in node.names))
            or (isinstance(node, ast.ImportFrom) and node.module == 'libvirt')
        }
        self.assertEqual({'virt'}, importers)


class TestCallbacks(testtools.TestCase):
    def test_callbacks_only_make_an_event_and_publish_it(self) -> None:
        """No log, no lock, no call of libvirt but the local UUIDString."""
        allowed = {
            'publish',
            'on_close',
            'get',
            'BlockJobEvent',
            'BlockJobStatus',
            'LifecycleEvent',
            'Lifecycle',
            'UUIDString',
        }
        tree = ast.parse((PACKAGE / 'virt' / 'link.py').read_text())
        callbacks = [
            node
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and node.name in {'_closed', '_block_job', '_lifecycle'}
        ]
        self.assertEqual(3, len(callbacks))
        for callback in callbacks:
            for node in ast.walk(callback):
                self.assertNotIsInstance(node, ast.With)
                if isinstance(node, ast.Call):
                    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
                    self.assertIn(name if isinstance(name, str) else ast.unparse(name), allowed)
