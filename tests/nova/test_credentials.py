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
"""With whose rights, and under which address, nova-compute asks Cinder by itself."""

from __future__ import annotations

from unittest import mock

import nova.conf
import testtools
from oslo_config import fixture as config_fixture

from blockmirror_driver.nova import credentials

TEMPLATE = 'http://192.0.2.1:8776/v3/%(project_id)s'


class AdminContextTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings = self.useFixture(config_fixture.Config(nova.conf.CONF))
        for name in ('service_auth.get_service_auth_session', 'cinder._get_auth'):
            patched = mock.patch(f'blockmirror_driver.nova.credentials.{name}')
            self.addCleanup(patched.stop)
            setattr(self, name.rpartition('.')[2].strip('_'), patched.start())
        self.session = self.get_service_auth_session.return_value
        self.session.get_project_id.return_value = 'the-service-project'

    get_service_auth_session: mock.Mock

    def test_the_address_is_of_the_users_project(self) -> None:
        self.settings.config(endpoint_template=TEMPLATE, group='cinder')
        context = credentials.admin_context()
        self.assertTrue(context.is_admin)
        address = nova.conf.CONF.cinder.endpoint_template % context.to_dict()
        self.assertEqual('http://192.0.2.1:8776/v3/the-service-project', address)

    def test_the_catalog_needs_no_project(self) -> None:
        """And Keystone is not asked for one."""
        for template in (None, 'http://192.0.2.1:8776/v3'):
            self.settings.config(endpoint_template=template, group='cinder')
            self.assertIsNone(credentials.admin_context().project_id)
        self.assertEqual(0, self.session.get_project_id.call_count)

    def test_keystone_away(self) -> None:
        self.settings.config(endpoint_template=TEMPLATE, group='cinder')
        self.session.get_project_id.side_effect = ConnectionError('refused')
        self.assertIsNone(credentials.admin_context().project_id)
