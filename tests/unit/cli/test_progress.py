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
"""Bar, lines and JSON lines; none of them can stop a copy."""

from __future__ import annotations

import importlib.resources
import io
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import testtools
from hypothesis import given
from hypothesis import strategies as st

from blockmirror_driver import exception
from blockmirror_driver.cli import progress
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Bytes, BytesPerSecond, Seconds
from blockmirror_driver.swap.record import SwapEvent
from blockmirror_driver.swap.states import SwapState
from tests.unit.cli import fakes


def schema() -> Any:
    package = importlib.resources.files('blockmirror_driver.cli')
    return json.loads(package.joinpath('events.schema.json').read_text())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


sizes = st.integers(0, 2**63 - 1)
times = st.floats(0, 1e9)
events = st.builds(
    SwapEvent,
    time=times,
    swap_id=st.text(),
    event=st.sampled_from(['plan', 'start', 'state', 'progress', 'ready', 'end', 'error']),
    state=st.sampled_from(SwapState),
    detail=st.text(),
    progress=st.none()
    | st.builds(
        Progress,
        cur=sizes.map(Bytes),
        end=sizes.map(Bytes),
        rate=sizes.map(BytesPerSecond),
        dirty_rate=sizes.map(BytesPerSecond),
        eta=st.none() | times.map(Seconds),
        stalled_for=times.map(Seconds),
    ),
)


class TestSchema(testtools.TestCase):
    def test_is_a_schema_and_knows_every_state(self) -> None:
        jsonschema.Draft202012Validator.check_schema(schema())
        self.assertEqual(
            {state.value for state in SwapState}, set(schema()['properties']['state']['enum'])
        )

    @given(st.lists(events))
    def test_every_event_is_one_valid_line(self, found: list[SwapEvent]) -> None:
        out = io.StringIO()
        sink = progress.JsonLines(out)
        for event in found:
            sink(event)
        lines = out.getvalue().split('\n')
        self.assertEqual('', lines.pop())
        self.assertEqual(len(found), len(lines))
        validator = jsonschema.Draft202012Validator(schema())
        for line in lines:
            validator.validate(json.loads(line))

    @given(st.lists(events, max_size=5))
    def test_bar_and_lines_take_every_event(self, found: list[SwapEvent]) -> None:
        fanout = progress.Fanout([progress.Bar(Terminal()), progress.Lines(io.StringIO())])
        for event in found:
            fanout(event)
        self.assertEqual(2, len(fanout.sinks))
        fanout.close()


class TestSinks(testtools.TestCase):
    def test_a_terminal_gets_a_bar(self) -> None:
        terminal = Terminal()
        opening = progress.Opening(stdout=io.StringIO(), stderr=terminal, display=True)
        with opening as sinks:
            sinks(fakes.event('progress', SwapState.COPYING, progress=fakes.PROGRESS))
        text = terminal.getvalue()
        for part in ('copying', '25%', '1.0 MiB of 4.0 MiB', '1.0 MiB/s', '1.0 KiB/s', '0:00:03'):
            self.assertIn(part, text)

    def test_a_stall_is_shown(self) -> None:
        stalled = Progress(Bytes(1), Bytes(2), stalled_for=Seconds(3723.0))
        self.assertEqual('stalled for 1:02:03', progress.rates(stalled))
        endless = Progress(Bytes(1), Bytes(2), BytesPerSecond(1), BytesPerSecond(2))
        self.assertIn('no end in sight', progress.rates(endless))

    def test_one_reading_is_no_rate(self) -> None:
        self.assertEqual('rate not known yet', progress.rates(Progress(Bytes(1), Bytes(2))))

    def test_a_reader_that_goes_away_does_not_stop_the_copy(self) -> None:
        lines = io.StringIO()
        fanout = progress.Fanout([progress.JsonLines(Broken()), progress.Lines(lines)])
        for _twice in range(2):
            fanout(fakes.event('state', SwapState.COPYING, detail='on'))
        self.assertEqual(1, len(fanout.sinks))
        self.assertEqual(2, lines.getvalue().count('on'))


class TestEvents(fakes.CommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.service.events = [
            fakes.event('plan', SwapState.PLANNED),
            fakes.event('progress', SwapState.COPYING, progress=fakes.PROGRESS),
            fakes.event('end', SwapState.CLEANED),
        ]
        self.argv = ['swap', 'guest', 'vda', self.file('c.json', fakes.RBD), '-q']

    def check(self, text: str) -> None:
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertEqual(['plan', 'progress', 'end'], [line['event'] for line in lines])
        for line in lines:
            jsonschema.validate(line, schema())

    def test_on_stdout_in_place_of_the_result(self) -> None:
        ran = self.run_command(*self.argv, '--events', 'jsonl')
        self.assertEqual((0, ''), (ran.code, ran.err))
        self.check(ran.out)

    def test_in_a_file_besides_the_result(self) -> None:
        path = self.folder / 'events'
        ran = self.run_command(*self.argv, '--events-file', str(path), '-f', 'json')
        self.assertEqual('cleaned', json.loads(ran.out)['state'])
        self.check(path.read_text())

    def test_a_refusal_has_a_last_event_too(self) -> None:
        self.service.events = ()
        self.service.result = exception.PlanRefused('no')
        ran = self.run_command(*self.argv, '--events', 'jsonl')
        self.assertEqual(3, ran.code)
        (line,) = [json.loads(line) for line in ran.out.splitlines()]
        jsonschema.validate(line, schema())
        self.assertEqual(('error', '', 'no'), (line['event'], line['swap_id'], line['detail']))

    def test_what_is_left_running_has_a_last_event_too(self) -> None:
        self.service.events = self.service.events[:2]
        self.service.result = fakes.outcome(SwapState.COPYING, 130)
        ran = self.run_command(*self.argv, '--events', 'jsonl')
        self.assertEqual(130, ran.code)
        last = json.loads(ran.out.splitlines()[-1])
        self.assertEqual(('end', 'copying'), (last['event'], last['state']))
        self.assertIn('blockmirror recover', ran.error_line)
