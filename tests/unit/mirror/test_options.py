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
"""The options of one copy: where they come from and what is refused."""

from __future__ import annotations

import unittest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg

from blockmirror_driver import conf as bm_conf
from blockmirror_driver import exception
from blockmirror_driver.mirror.options import CopyOptions, check_granularity


def configuration(**values: Any) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    bm_conf.register_opts(conf)
    conf([], project='blockmirror', default_config_files=[])
    for name, value in values.items():
        conf.set_override(name, value, group=bm_conf.GROUP)
    return conf


class FromConf(unittest.TestCase):
    """Configuration first, then the call."""

    def test_the_defaults_agree(self) -> None:
        """An empty configuration gives the dataclass's own defaults."""
        self.assertEqual(CopyOptions.from_conf(configuration()), CopyOptions())

    def test_configuration_then_call(self) -> None:
        """None counts as not given; 0 does not."""
        conf = configuration(bandwidth=5, granularity=4096, copy_timeout=7.0)
        options = CopyOptions.from_conf(conf, bandwidth=0, granularity=None, shallow=True)
        self.assertEqual((options.bandwidth, options.granularity), (0, 4096))
        self.assertEqual((options.copy_timeout, options.shallow), (7.0, True))

    def test_an_unknown_override(self) -> None:
        """Is a mistake of the caller's."""
        with self.assertRaisesRegex(exception.UsageError, 'bandwith'):
            CopyOptions.from_conf(configuration(), bandwith=1)

    def test_the_process_own_configuration(self) -> None:
        """Without a conf, CONF is read."""
        self.assertEqual(CopyOptions.from_conf(), CopyOptions())


class Refused(unittest.TestCase):
    """What the hypervisor would refuse, or what makes no sense."""

    def test_ranges(self) -> None:
        """Each is a UsageError, and names the option."""
        bad: dict[str, tuple[Any, ...]] = {
            'bandwidth': (-1, 1 << 63),
            'buf_size': (-1, 1 << 63),
            'granularity': (-1, 1, 256, 3000, 128 * 1024 * 1024),
            'copy_timeout': (0, -1.0, float('nan'), float('inf')),
            'poll_interval': (0,),
        }
        for name, values in bad.items():
            for value in values:
                with (
                    self.subTest(name=name, value=value),
                    self.assertRaisesRegex(exception.UsageError, name),
                ):
                    CopyOptions.from_conf(configuration(), **{name: value})

    def test_methods(self) -> None:
        """Ours, and those that other packages register."""
        with self.assertRaisesRegex(exception.UsageError, 'rsync'):
            CopyOptions.from_conf(configuration(), method='rsync')
        conf = configuration()
        conf.set_override('copy_method', 'rebase', 'blockmirror')
        self.assertEqual('rebase', CopyOptions.from_conf(conf).method)

    @given(st.integers(0, 1 << 30))
    def test_granularity(self, value: int) -> None:
        """0, or a power of two from 512 bytes to 64 MiB, and nothing else."""
        good = value == 0 or value in [1 << n for n in range(9, 27)]
        try:
            check_granularity(value)
        except exception.UsageError:
            self.assertFalse(good)
        else:
            self.assertTrue(good)

    def test_every_good_granularity(self) -> None:
        """All powers that QEMU takes."""
        for power in range(9, 27):
            check_granularity(1 << power)
