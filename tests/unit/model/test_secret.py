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

import copy
import json
import logging
import pickle
import unittest

from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver.model import Secret

CANARY = 'canary-7f3a'


class TestSecret(unittest.TestCase):
    def test_no_way_of_showing_it_shows_it(self) -> None:
        secret = Secret(CANARY)
        shown = [
            str(secret),
            repr(secret),
            f'{secret}',
            f'{secret!r}',
            f'{secret:>10}',
            '%s %r' % (secret, secret),  # noqa: UP031 - one of the ways
            str([secret]),
            str({'password': secret}),
        ]
        for text in shown:
            self.assertNotIn(CANARY, text)
            self.assertIn(Secret.REDACTED, text)

    def test_a_log_record_does_not_show_it(self) -> None:
        with self.assertLogs('canary', logging.INFO) as logs:
            logging.getLogger('canary').info('key %s of %r', Secret(CANARY), Secret(CANARY))
        self.assertNotIn(CANARY, logs.output[0])

    def test_it_is_never_serialized(self) -> None:
        secret = Secret(CANARY)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            self.assertRaises(TypeError, pickle.dumps, secret, protocol)
        self.assertRaises(TypeError, copy.deepcopy, secret)
        self.assertRaises(TypeError, json.dumps, secret)

    def test_it_has_no_dict_to_dump(self) -> None:
        self.assertRaises(TypeError, vars, Secret(CANARY))

    def test_it_is_not_hashable(self) -> None:
        self.assertRaises(TypeError, hash, Secret(CANARY))

    @given(st.binary())
    def test_reveal_gives_the_bytes(self, value: bytes) -> None:
        self.assertEqual(value, Secret(value).reveal())

    @given(st.text())
    def test_text_is_utf8(self, value: str) -> None:
        secret = Secret(value)
        self.assertEqual(value, secret.reveal().decode())
        self.assertEqual(bool(value), bool(secret))

    @given(st.binary(), st.binary())
    def test_equal_when_the_bytes_are(self, one: bytes, other: bytes) -> None:
        self.assertEqual(one == other, Secret(one) == Secret(other))
        self.assertNotEqual(Secret(one), one)
