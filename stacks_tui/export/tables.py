"""Rows of a query as they are, for formats of tables.

Comes in: recordings, a query, a selection. Goes out: `Rows`, in batches, never all at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import duckdb
import pyarrow as pa

from stacks_tui.errors import UsageError
from stacks_tui.export.model import Rows
from stacks_tui.export.questions import Question, ask, batches, recorded
from stacks_tui.export.samples import make_origin
from stacks_tui.export.selection import Selection
from stacks_tui.export.stack_lookup import StackLookup, with_stacks
from stacks_tui.export.task import Task
from stacks_tui.store.reader import Recording

_ROWS_PER_BATCH = 8_192
"""With their frames, rows take some 2 kB each."""


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
    relations = [
        ask(recording, question, selection, span, span.begin, task)
        for recording, span in zip(recordings, spans, strict=True)
    ]
    task.step(f"counting {question.name}")
    counted = sum(_count(relation, question) for relation in relations)
    # a connection answers nothing else while rows are read from it
    origin = make_origin(recordings, spans, asked, selection)
    found = _all(recordings, relations, question, task)
    first = next(found)
    return Rows(first.schema, chain([first], found), counted, origin)


def _count(relation: duckdb.DuckDBPyRelation, question: Question) -> int:
    """How many rows there are, without holding them."""
    (batch, *_) = batches(relation.count("*"), question)
    return int(batch.column(0)[0].as_py())


def _all(
    recordings: Sequence[Recording],
    relations: Sequence[duckdb.DuckDBPyRelation],
    question: Question,
    task: Task,
) -> Iterator[pa.RecordBatch]:
    for recording, relation in zip(recordings, relations, strict=True):
        found = None
        if question.names or question.frames:
            # before rows are read: a connection answers one question at a time
            found = StackLookup(recording, task, addresses=bool(question.frames))
        for batch in batches(relation, question, _ROWS_PER_BATCH):
            yield with_stacks(batch, question, found) if found is not None else batch
