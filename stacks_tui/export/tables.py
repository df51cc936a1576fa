"""Rows of a query as they are, for formats of tables.

Comes in: recordings, a query, a selection. Goes out: `Rows`, in batches, never all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise

import duckdb
import pyarrow as pa

from stacks_tui.errors import UsageError
from stacks_tui.export.model import Rows
from stacks_tui.export.questions import Question, Span, ask, batches, recorded
from stacks_tui.export.samples import make_origin
from stacks_tui.export.selection import Selection
from stacks_tui.export.stack_lookup import StackLookup, with_stacks
from stacks_tui.export.task import Task
from stacks_tui.store.reader import Recording

_ROWS_PER_BATCH = 8_192
"""With their frames, rows take some 2 kB each."""
_ROWS_PER_SLICE = 1_000_000


def load_rows(
    recordings: Sequence[Recording], asked: Sequence[Question], selection: Selection, task: Task
) -> Rows:
    """The rows of one query; those of several recordings follow each other.

    Raises:
        UsageError: several queries, or a wrong one.
    """
    if len(asked) != 1:
        raise UsageError("a table holds the rows of one query; name one.")
    (question,) = asked
    spans = [recorded(recording) for recording in recordings]
    task.step(f"counting {question.name}")
    counts = [
        _count(ask(recording, question, selection, span, span.begin, task), question)
        for recording, span in zip(recordings, spans, strict=True)
    ]
    # a connection answers nothing else while rows are read from it
    origin = make_origin(recordings, spans, asked, selection)
    found = chain.from_iterable(
        _batches(recording, question, _slices(question, selection, span, count), span, task)
        for recording, span, count in zip(recordings, spans, counts, strict=True)
    )
    first = next(found)
    return Rows(first.schema, chain([first], found), sum(counts), origin)


def _count(relation: duckdb.DuckDBPyRelation, question: Question) -> int:
    """How many rows there are, without holding them."""
    (batch, *_) = batches(relation.count("*"), question)
    return int(batch.column(0)[0].as_py())


def _slices(
    question: Question, selection: Selection, span: Span, count: int
) -> Iterator[Selection]:
    """The selection in slices of time, so that no more than some rows are sorted at once."""
    parts = -(-count // _ROWS_PER_SLICE) if question.sliced else 1
    begin = span.begin if selection.begin is None else max(selection.begin, span.begin)
    end = span.end if selection.end is None else min(selection.end, span.end)
    cuts = [begin + (end - begin) * at // parts for at in range(1, parts)]
    for low, high in pairwise([selection.begin, *cuts, selection.end]):
        yield replace(selection, begin=low, end=high)


def _batches(
    recording: Recording,
    question: Question,
    slices: Iterator[Selection],
    span: Span,
    task: Task,
) -> Iterator[pa.RecordBatch]:
    found = None
    if question.names or question.frames:
        found = StackLookup(recording, task, addresses=bool(question.frames))
    for selection in slices:
        relation = ask(recording, question, selection, span, span.begin, task)
        for batch in batches(relation, question, _ROWS_PER_BATCH):
            yield with_stacks(batch, question, found) if found is not None else batch
