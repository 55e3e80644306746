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

import inspect
import unittest

from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception


def tree(root: type[exception.BlockmirrorError]) -> set[type[exception.BlockmirrorError]]:
    """All classes below and including ``root``."""
    return {root}.union(*(tree(child) for child in root.__subclasses__()))


OURS = {c for c in tree(exception.BlockmirrorError) if c.__module__ == exception.__name__}


class TestTree(unittest.TestCase):
    def test_every_error_is_public(self) -> None:
        self.assertEqual({c.__name__ for c in OURS} | {'families'}, set(exception.__all__))

    def test_docstring_draws_every_error(self) -> None:
        for error in OURS:
            self.assertRegex(exception.__doc__ or '', rf'\b{error.__name__}\b')

    def test_docstring_draws_the_codes(self) -> None:
        for family in exception.families():
            drawn = f'{family.__name__} ({family.exit_code})'
            self.assertIn(drawn, exception.__doc__ or '')

    def test_families_cover_the_codes_2_to_8_once_each(self) -> None:
        self.assertEqual([2, 3, 4, 5, 6, 7, 8], [f.exit_code for f in exception.families()])

    def test_a_child_has_its_familys_code(self) -> None:
        for family in exception.families():
            for child in tree(family):
                self.assertEqual(family.exit_code, child.exit_code, child)

    def test_every_family_says_what_it_means(self) -> None:
        for family in OURS & set(exception.BlockmirrorError.__subclasses__()):
            self.assertTrue(family.meaning.endswith('.'), family)

    def test_who_says_the_guest_is_on_the_source(self) -> None:
        """Codes 4 to 6 promise it in words; 7 and 8 must not."""
        said = {f.exit_code for f in exception.families() if 'on the source' in f.meaning}
        self.assertEqual({4, 5, 6}, said)

    def test_every_error_has_a_docstring_of_its_own(self) -> None:
        for error in OURS:
            self.assertTrue(inspect.cleandoc(error.__dict__['__doc__']), error)

    def test_every_error_is_made_from_a_message_alone(self) -> None:
        for error in OURS:
            self.assertEqual('what', str(error('what')))


class TestMessage(unittest.TestCase):
    @given(st.text())
    def test_message_and_hint_are_one_printable_line(self, text: str) -> None:
        error = exception.CopyFailed(text, hint=text)
        for line in (error.message, error.hint, str(error)):
            self.assertTrue(line.isprintable(), line)

    def test_hint_falls_back_to_the_class(self) -> None:
        self.assertEqual(exception.DiskBusy.default_hint, exception.DiskBusy('x').hint)
        self.assertEqual('do y', exception.DiskBusy('x', hint='do y').hint)
        self.assertEqual('', exception.DiskBusy('x', hint='').hint)

    def test_field_leads_the_message(self) -> None:
        error = exception.InvalidConnectionInfo('missing', field='data.name')
        self.assertEqual('data.name: missing', str(error))
        self.assertEqual('data.name', error.field)

    def test_typed_attributes(self) -> None:
        refused = exception.PlanRefused('2 checks failed', failed=['size', 'format'])
        self.assertEqual(('size', 'format'), refused.failed)
        lost = exception.HypervisorUnavailable('gone', code=38, outcome_unknown=True)
        self.assertEqual((38, True), (lost.code, lost.outcome_unknown))
