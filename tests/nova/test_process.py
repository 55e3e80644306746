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
"""Start and stop of nova-compute with our driver."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from typing import Any
from unittest import mock

from nova import exception as nova_exception
from nova import monkey_patch
from nova.virt import driver as nova_driver
from nova.virt.libvirt import driver as libvirt_driver

import blockmirror_driver.nova
from blockmirror_driver import exception
from blockmirror_driver.nova import credentials
from tests.nova.base import CONF, NovaTestCase


class ProcessCase(NovaTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.novas: dict[str, Any] = {}
        for name in ('init_host', 'cleanup_host'):
            patched = mock.patch.object(libvirt_driver.LibvirtDriver, name)
            self.novas[name] = patched.start()
            self.addCleanup(patched.stop)

    def refused(self) -> str:
        return str(
            self.assertRaises(
                nova_exception.InvalidConfiguration, self.driver.init_host, 'compute-1'
            )
        )


class TestStart(ProcessCase):
    def test_after_novas_own_driver(self) -> None:
        opened = mock.Mock()
        self.novas['init_host'].side_effect = lambda _host: opened.assert_not_called()
        with mock.patch.object(self.driver.engine, 'open', opened):
            self.driver.init_host('compute-1')
        opened.assert_called_once_with()

    def test_eventlet_is_refused_before_anything(self) -> None:
        with mock.patch.object(monkey_patch, 'is_patched', lambda: True):
            reason = self.refused()
        self.assertIn('eventlet', reason)
        self.assertIn('concurrency_backend', reason)
        self.novas['init_host'].assert_not_called()

    def test_a_manager_that_can_not_be_reached(self) -> None:
        for virtapi in (mock.Mock(spec=[]), mock.Mock(_compute=mock.Mock(spec=[]))):
            self.driver.virtapi = virtapi
            self.assertIn('manager', self.refused())
            self.novas['init_host'].assert_not_called()

    def test_no_journal_no_start(self) -> None:
        """Without it nobody could tell which volume a guest is on."""
        full = exception.JournalUnusable('disk is full', hint='make room')
        with mock.patch.object(self.driver.engine.journal, 'check', side_effect=full):
            reason = self.refused()
        self.assertIn('disk is full. make room', reason)

    def test_an_event_loop_that_does_not_run_is_told(self) -> None:
        engine = self.driver.engine
        with (
            mock.patch.object(engine.hypervisor, 'open'),
            mock.patch.object(engine.hypervisor, 'events_arrive', lambda _seconds: False),
            self.assertLogs('blockmirror_driver.nova.engine', 'ERROR') as logs,
        ):
            engine.open()
        self.assertIn('does not answer', logs.output[0])


class TestCredentials(NovaTestCase):
    def test_what_is_missing_is_named(self) -> None:
        found = credentials.missing(CONF)
        self.assertEqual(2, len(found))
        self.assertIn('[cinder]', found[0])
        self.assertIn('[service_user]', found[1])

    def test_a_complete_configuration(self) -> None:
        self.conf.config(auth_type='password', group='cinder')
        self.conf.config(send_service_user_token=True, group='service_user')
        self.assertEqual([], credentials.missing(CONF))


class TestStop(ProcessCase):
    def setUp(self) -> None:
        super().setUp()
        self.service = mock.Mock()

    def test_swaps_are_left_and_none_begins(self) -> None:
        with self.driver.engine._kept(self.service):
            self.driver.cleanup_host('compute-1')
            self.service.leave.assert_called_once_with()
        self.novas['cleanup_host'].assert_called_once_with('compute-1')
        self.assertRaises(exception.PlanRefused, self.driver.engine._kept(self.service).__enter__)

    def test_swaps_are_left_as_soon_as_the_stop_begins(self) -> None:
        """Nova waits for what it does for minutes before it cleans up."""
        left = threading.Event()
        self.service.leave.side_effect = left.set
        self.manager._shutdown_in_progress = threading.Event()
        with mock.patch.object(self.driver.engine, 'open'):
            self.driver.init_host('compute-1')
        with self.driver.engine._kept(self.service):
            self.manager._shutdown_in_progress.set()
            self.assertTrue(left.wait(10))


class TestLoading(NovaTestCase):
    def test_what_nova_imports(self) -> None:
        """As ``compute_driver = blockmirror.LibvirtDriver`` does, once it is installed."""
        shim = importlib.import_module('blockmirror_driver.nova.shim')
        with mock.patch.dict('sys.modules', {'nova.virt.blockmirror': shim}):
            loaded = nova_driver.load_compute_driver(
                mock.Mock(_compute=self.manager), 'blockmirror.LibvirtDriver'
            )
        self.assertIs(type(self.driver), type(loaded))

    def test_every_module_imports_where_eventlet_is_forbidden(self) -> None:
        path = blockmirror_driver.nova.__path__
        for module in pkgutil.walk_packages(path, 'blockmirror_driver.nova.'):
            importlib.import_module(module.name)
