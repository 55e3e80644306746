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
from __future__ import annotations

import re
import tempfile
import unittest
from pathlib import Path

from oslo_config import cfg, generator

from blockmirror_driver import conf
from blockmirror_driver.conf import opts

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / 'etc/blockmirror/blockmirror.conf.sample'
GENERATOR = ROOT / 'etc/blockmirror/config-generator.conf'
OPTIONS = {opt.name: opt for _, group in opts.list_opts() for opt in group}
#: A number is a number of these.
UNITS = r'\b(seconds|bytes|days|messages|swaps|uid|gid)\b'


class TestOptions(unittest.TestCase):
    def test_help_is_a_sentence(self) -> None:
        for name, opt in OPTIONS.items():
            with self.subTest(name):
                text = (opt.help or '').strip()
                self.assertTrue(text[:1].isupper() or text[:1].islower())
                self.assertRegex(text, r'\.$')

    def test_a_numbers_help_names_its_unit(self) -> None:
        for name, opt in OPTIONS.items():
            if isinstance(opt, cfg.IntOpt | cfg.FloatOpt):
                with self.subTest(name):
                    self.assertRegex((opt.help or '').lower(), UNITS)

    def test_a_number_has_a_lower_bound(self) -> None:
        for name, opt in OPTIONS.items():
            if isinstance(opt, cfg.IntOpt | cfg.FloatOpt):
                with self.subTest(name):
                    self.assertIsNotNone(getattr(opt.type, 'min', None))

    def test_related_options_exist(self) -> None:
        for name, opt in OPTIONS.items():
            related = (opt.help or '').partition('Related options:')[2]
            for other in re.findall(r'``([a-z_]+)``', related):
                with self.subTest(name):
                    self.assertIn(other, OPTIONS)
                    self.assertNotEqual(name, other)

    def test_defaults_pass_their_own_checks(self) -> None:
        parsed = cfg.ConfigOpts()
        conf.register_opts(parsed)
        parsed([], project='blockmirror', default_config_files=[])
        for name in OPTIONS:
            parsed[conf.GROUP][name]

    def test_registering_twice_is_harmless(self) -> None:
        parsed = cfg.ConfigOpts()
        conf.register_opts(parsed)
        conf.register_opts(parsed)

    def test_every_module_is_listed(self) -> None:
        folder = Path(conf.__file__).parent
        modules = {path.stem for path in folder.glob('*.py')} - {'__init__', 'opts'}
        self.assertEqual(modules, {m.__name__.rpartition('.')[2] for m in conf.MODULES})


class TestSample(unittest.TestCase):
    def test_committed_sample_is_up_to_date(self) -> None:
        """``make genconfig`` mends it."""
        parsed = cfg.ConfigOpts()
        generator.register_cli_opts(parsed)
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / 'sample'
            parsed(['--config-file', str(GENERATOR), '--output-file', str(out)])
            generator.generate(parsed)
            self.assertEqual(out.read_text(), SAMPLE.read_text())

    def test_no_option_has_a_default_that_belongs_to_this_machine(self) -> None:
        self.assertNotIn(str(ROOT), SAMPLE.read_text())
