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
"""Unit tests: no root, no daemon, and no judgement by a clock."""

import os

import hypothesis

from tests.fuzz import INPUTS_VARIABLE

#: How many inputs each property gets at least.
INPUTS = int(os.environ.get(INPUTS_VARIABLE, '100'))

# A deadline per example fails on a busy machine, and says nothing about the code.
hypothesis.settings.register_profile('blockmirror', deadline=None, max_examples=INPUTS)
hypothesis.settings.load_profile('blockmirror')
