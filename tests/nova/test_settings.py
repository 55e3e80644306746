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
"""Options of a copy from the extra specs of a volume type."""

from __future__ import annotations

from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions
from blockmirror_driver.nova import settings
from tests.nova.base import CONF, NovaTestCase


class TestCopyOptions(NovaTestCase):
    def test_each_key(self) -> None:
        specs = {
            'blockmirror:bandwidth': '104857600',
            'blockmirror:granularity': '65536',
            'blockmirror:buf_size': ' 1048576 ',
            'blockmirror:sync_writes': 'True',
            'blockmirror:allow_larger': 'yes',
            'blockmirror:budget_wait': '90',
            'blockmirror:timeout': '60',
            'blockmirror:stall_after': '2.5',
            'blockmirror:stall_timeout': '20',
            'blockmirror:probe_timeout': '5',
        }
        self.assertEqual(set(settings.KEYS), {key.partition(':')[2] for key in specs})
        options = settings.copy_options(CONF, specs)
        self.assertEqual((104857600, 65536, 1048576), _sizes(options))
        self.assertTrue(options.synchronous_writes and options.allow_larger)
        self.assertEqual((60, 2.5, 20, 5), _times(options))
        self.assertEqual(90.0, options.budget_wait)

    def test_without_any_those_of_nova_conf(self) -> None:
        self.assertFalse(settings.copy_options(CONF, {}).allow_larger)
        self.conf.config(bandwidth=7, copy_timeout=9.0, allow_larger=True, group='blockmirror')
        options = settings.copy_options(CONF, {'volume_backend_name': 'a', 'bandwidth': '1'})
        self.assertEqual((7, 9.0), (options.bandwidth, options.copy_timeout))
        self.assertTrue(options.allow_larger)
        specs = {'blockmirror:allow_larger': 'false'}
        self.assertFalse(settings.copy_options(CONF, specs).allow_larger)

    def test_a_key_of_a_newer_release_is_logged(self) -> None:
        with self.assertLogs('blockmirror_driver.nova.settings', 'WARNING') as logs:
            settings.copy_options(CONF, {'blockmirror:colour': 'blue'})
        self.assertIn('blockmirror:colour', logs.output[0])

    def test_what_can_not_be_read_is_refused(self) -> None:
        for key, value in (
            ('bandwidth', 'much'),
            ('bandwidth', '-1'),
            ('bandwidth', '1.5'),
            ('granularity', '1000'),
            ('sync_writes', 'perhaps'),
            ('timeout', '0'),
            ('timeout', 'nan'),
            ('timeout', ''),
        ):
            specs = {f'blockmirror:{key}': value}
            self.assertRaises(exception.UsageError, settings.copy_options, CONF, specs)


def _sizes(options: CopyOptions) -> tuple[int, int, int]:
    return options.bandwidth, options.granularity, options.buf_size


def _times(options: CopyOptions) -> tuple[float, float, float, float]:
    return (
        options.copy_timeout,
        options.stall_after,
        options.stall_timeout,
        options.probe_timeout,
    )
