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
from stacks_tui.export.task import Task
from stacks_tui.store.reader import Recording


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
    counted = sum(relation.shape[0] for relation in relations)
    found = _all(relations, question)
    first = next(found)
    return Rows(
        first.schema,
        chain([first], found),
        counted,
        make_origin(recordings, spans, asked, selection),
    )


def _all(
    relations: Sequence[duckdb.DuckDBPyRelation], question: Question
) -> Iterator[pa.RecordBatch]:
    for relation in relations:
        yield from batches(relation, question)
