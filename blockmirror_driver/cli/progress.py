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
"""What is seen of a running copy: a bar, a line every 10 seconds, or JSON lines.

A sink that can't write any more (the terminal is gone, the pipe is closed, the disk is full) is
dropped: the copy is worth more than its display.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from blockmirror_driver import exception
from blockmirror_driver.mirror.progress import Progress
from blockmirror_driver.model import Seconds, format_bytes

if TYPE_CHECKING:
    from rich.progress import TaskID

    # Late: the application imports commands, and those this.
    from blockmirror_driver.cli.app import BlockmirrorApp
    from blockmirror_driver.swap.record import SwapEvent

LOG = logging.getLogger(__name__)

#: What people get as the command's result or as its error line, and so not as progress.
_LAST = ('end', 'error')

#: Seconds between two lines when there is no terminal.
EVERY = Seconds(10.0)


class Sink(Protocol):
    """Takes events, in the thread that runs the swap."""

    def __call__(self, event: SwapEvent) -> None:
        """Take one event."""

    def close(self) -> None:
        """Finish what is on the screen."""


def amounts(progress: Progress) -> str:
    """Return ``1.0 GiB of 4.0 GiB``."""
    return f'{format_bytes(progress.cur)} of {format_bytes(progress.end)}'


def rates(progress: Progress) -> str:
    """Return the rate of the copy, that of the guest's writes, and what it means in time."""
    if progress.stalled_for > 0 and not progress.rate:
        return f'stalled for {duration(progress.stalled_for)}'
    if not progress.rate and not progress.dirty_rate:
        return 'rate not known yet'  # it takes two readings
    left = 'no end in sight' if progress.eta is None else f'{duration(progress.eta)} left'
    dirty = f'dirtied at {format_bytes(progress.dirty_rate)}/s'
    return f'{format_bytes(progress.rate)}/s, {dirty}, {left}'


def duration(seconds: float) -> str:
    """Return ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}'


class JsonLines:
    """One line of JSON per event, flushed at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: SwapEvent) -> None:
        """Write one event."""
        self._stream.write(json.dumps(event.to_dict(), separators=(',', ':')) + '\n')
        self._stream.flush()

    def close(self) -> None:
        """Nothing is pending."""


class Lines:
    """A line for each change, and for progress at most one every :data:`EVERY` seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = float('-inf')

    def __call__(self, event: SwapEvent) -> None:
        """Write one line, if it is time for one."""
        # READY has been told as a state already.
        if event.event in (*_LAST, 'ready'):
            return
        if event.progress is not None and event.event == 'progress':
            # Before the first reading there is nothing to tell.
            if not event.progress.end or event.time - self._last < EVERY:
                return
            self._last = event.time
            text = f'{amounts(event.progress)} ({event.progress.fraction:.0%}), '
            text += rates(event.progress)
        else:
            text = event.detail or event.event
        clock = time.strftime('%H:%M:%S', time.localtime(event.time))
        self._stream.write(f'{clock} {event.state.value}: {text}\n')
        self._stream.flush()

    def close(self) -> None:
        """Nothing is pending."""


class Bar:
    """A bar on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        # Late: only who looks at a terminal pays for it.
        from rich import progress as rich_progress
        from rich.console import Console

        self._bar = rich_progress.Progress(
            rich_progress.TextColumn('{task.description}'),
            rich_progress.BarColumn(),
            rich_progress.TextColumn('{task.percentage:>3.0f}%'),
            rich_progress.TextColumn('{task.fields[amounts]}  {task.fields[rates]}'),
            console=Console(file=stream),
        )
        self._task: TaskID = self._bar.add_task('planned', total=None, amounts='', rates='')
        self._bar.start()

    def __call__(self, event: SwapEvent) -> None:
        """Redraw the bar."""
        self._bar.update(self._task, description=event.state.value)
        progress = event.progress
        if progress is not None:
            self._bar.update(
                self._task,
                total=progress.end or None,
                completed=progress.cur,
                amounts=amounts(progress),
                rates=rates(progress),
            )
        elif event.detail and event.event not in _LAST:
            self._bar.console.print(event.detail, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the bar as it stands and free the terminal."""
        self._bar.stop()


@dataclass
class Fanout:
    """Hands each event to every sink, and drops those that fail to write."""

    sinks: list[Sink]

    def __call__(self, event: SwapEvent) -> None:
        """Take one event; never raises because of a sink."""
        for sink in list(self.sinks):
            try:
                sink(event)
            except (OSError, ValueError) as error:
                # ValueError: the stream was closed.
                self.sinks.remove(sink)
                LOG.warning('Progress is not shown any more: %s', type(error).__name__)

    def close(self) -> None:
        """Close every sink."""
        for sink in self.sinks:
            with contextlib.suppress(OSError, ValueError):
                sink.close()


class Opening(contextlib.AbstractContextManager[Fanout]):
    """Makes the sinks that the options ask for, and closes them at the end.

    :param display: whether a human looks on.
    :param events: whether events are wanted as JSON lines: on stdout, or in ``events_file``.
    :raise UsageError: on entering, when that file can't be opened.
    """

    def __init__(
        self,
        *,
        stdout: TextIO,
        stderr: TextIO,
        display: bool,
        events: bool = False,
        events_file: str | None = None,
    ) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._display = display
        self._events = events
        self._events_file = events_file
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Fanout:
        """Open them."""
        sinks: list[Sink] = []
        if self._events_file is not None:
            sinks.append(JsonLines(self._stack.enter_context(_append_to(self._events_file))))
        elif self._events:
            sinks.append(JsonLines(self._stdout))
        if self._display:
            terminal = self._stderr.isatty()
            sinks.append(Bar(self._stderr) if terminal else Lines(self._stderr))
        fanout = Fanout(sinks)
        self._stack.callback(fanout.close)
        return fanout

    def __exit__(self, *_error: object) -> None:
        """Close them."""
        self._stack.close()


def _append_to(path: str) -> TextIO:
    try:
        return Path(path).open('a', encoding='utf-8')
    except OSError as error:
        raise exception.UsageError(f'cannot write {path}: {error.strerror}', hint='') from error


def takes_stdout(parsed: argparse.Namespace) -> bool:
    """Tell whether stdout carries the events, and so can't carry a table."""
    return parsed.events is not None and parsed.events_file is None


def opened(app: BlockmirrorApp, parsed: argparse.Namespace, *, display: bool = True) -> Opening:
    """Return what a command's progress options ask for, to be entered.

    :param display: whether people want to see progress; ``--quiet`` says no for all.
    """
    return Opening(
        stdout=app.stdout,
        stderr=app.stderr,
        display=display and not app.options.quiet,
        events=parsed.events is not None,
        events_file=parsed.events_file,
    )
