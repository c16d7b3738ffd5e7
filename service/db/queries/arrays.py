"""Chunk lists by generation, loose vectors and builds of arrays."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from service.db.many import among
from service.db.queries.examples import visible
from service.db.results import added, changed
from service.db.tables import ArrayBuild, Chunk, Example, Job, LooseVector, Upload

LATEST = 2**31 - 1
"""A generation behind all others; the greatest INTEGER of PostgreSQL."""


def live_chunks(session: Session, project_id: str, *, arrays: Sequence[str], generation: int) -> Sequence[Chunk]:
    """The chunks of some arrays in a generation, in order of rows."""
    alive = and_(Chunk.born <= generation, or_(Chunk.retired.is_(None), Chunk.retired > generation))
    query = select(Chunk).where(Chunk.project_id == project_id, Chunk.array.in_(arrays), alive)
    return session.scalars(query.order_by(Chunk.array, Chunk.start)).all()


def retire(session: Session, keys: Sequence[str], *, generation: int) -> int:
    """Take chunks out of the list from a generation on; how many still were in it."""
    query = update(Chunk).where(Chunk.key.in_(keys), Chunk.retired.is_(None))
    return changed(session, query.values(retired=generation))


def retire_arrays(session: Session, project_id: str, names: Sequence[str], *, generation: int) -> None:
    """Take all chunks of some arrays out of the list."""
    query = update(Chunk).where(Chunk.project_id == project_id, Chunk.array.in_(names), Chunk.retired.is_(None))
    changed(session, query.values(retired=generation))


def retire_predictions(session: Session, project_id: str, *, but: Sequence[str], generation: int) -> None:
    """Take the predictions of models and committees out of the list, except the arrays named in `but`."""
    predicted = or_(Chunk.array.startswith("predictions:"), Chunk.array.startswith("members:"))
    query = update(Chunk).where(Chunk.project_id == project_id, predicted, Chunk.array.not_in(but))
    changed(session, query.where(Chunk.retired.is_(None)).values(retired=generation))


def retire_features(session: Session, project_id: str, *, but: str, generation: int) -> None:
    """Take features that were made for other models out of the list."""
    made = update(Chunk).where(Chunk.project_id == project_id, Chunk.array.startswith("features:"), Chunk.array != but)
    changed(session, made.where(Chunk.retired.is_(None)).values(retired=generation))


def features_named(session: Session, project_id: str, prefix: str) -> str | None:
    """The name of an array that begins so and has chunks; the first one if there are several."""
    query = select(Chunk.array).where(Chunk.project_id == project_id, Chunk.array.startswith(prefix, autoescape=True))
    return session.scalars(query.where(Chunk.retired.is_(None)).order_by(Chunk.array).limit(1)).first()


def is_known(session: Session, project_id: str, array: str) -> bool:
    """Whether an array has chunks, retired ones among them, or somebody fills it."""
    query = select(Chunk.key).where(Chunk.project_id == project_id, Chunk.array == array).limit(1)
    return session.scalars(query).first() is not None or builder(session, project_id, array) is not None


def _features(array: Any) -> ColumnElement[bool]:
    return or_(array == "vectors", array.startswith("features:"))


def live_lasting(session: Session, project_id: str) -> Sequence[Chunk]:
    """The chunks of what outlasts a model: features of examples, uploaded or made, and uploaded predictions."""
    lasting = or_(_features(Chunk.array), Chunk.array.startswith("external"))
    query = select(Chunk).where(Chunk.project_id == project_id, lasting, Chunk.retired.is_(None))
    return session.scalars(query.order_by(Chunk.array, Chunk.start)).all()


def features_growing(session: Session, project_id: str) -> bool:
    """Whether a running job fills an array of features."""
    query = select(ArrayBuild.token).join(Job, (Job.token == ArrayBuild.token) & (Job.state == "running"))
    query = query.where(ArrayBuild.project_id == project_id, _features(ArrayBuild.array))
    return session.scalars(query.limit(1)).first() is not None


def take_unused(session: Session, project_id: str, *, oldest: int | None, limit: int) -> Sequence[Chunk]:
    """Forget retired chunks that no pinned generation names (`oldest`: the oldest pinned); their files can go."""
    query = select(Chunk).where(Chunk.project_id == project_id, Chunk.retired.is_not(None))
    query = query if oldest is None else query.where(Chunk.retired <= oldest)
    found = session.scalars(query.limit(limit).with_for_update(skip_locked=True)).all()
    session.execute(delete(Chunk).where(Chunk.key.in_([chunk.key for chunk in found])))
    return found


def loose_vectors(
    session: Session, project_id: str, *, below: int, limit: int | None = None
) -> list[tuple[int, bytes]]:
    """Rows whose vector is still a blob, ascending."""
    query = select(LooseVector.row, LooseVector.vector)
    query = query.where(LooseVector.project_id == project_id, LooseVector.row < below).order_by(LooseVector.row)
    return [(row, vector) for row, vector in session.execute(query.limit(limit))]


def remove_loose_vectors(session: Session, project_id: str, *, start: int, stop: int) -> int:
    """Remove the blobs of rows [start, stop)."""
    rows = delete(LooseVector).where(LooseVector.project_id == project_id)
    return changed(session, rows.where(LooseVector.row >= start, LooseVector.row < stop))


def unpublished_ranges(session: Session, project_id: str) -> list[tuple[int, int]]:
    """Row ranges of uploads that are not published yet."""
    query = select(Upload.start, Upload.stop).where(Upload.project_id == project_id, Upload.state == "staging")
    return [(start, stop) for start, stop in session.execute(query.order_by(Upload.start))]


def data_between(session: Session, project_id: str, *, start: int, stop: int) -> list[tuple[int, str | None]]:
    """The data of rows [start, stop), ascending by row."""
    query = select(Example.row, Example.data).where(Example.project_id == project_id)
    query = query.where(Example.row >= start, Example.row < stop).order_by(Example.row)
    return [(row, data) for row, data in session.execute(query)]


def builder(session: Session, project_id: str, array: str) -> str | None:
    """The token of the running job that fills an array; none when nobody does, or it was lost."""
    query = select(ArrayBuild.token).join(Job, (Job.token == ArrayBuild.token) & (Job.state == "running"))
    query = query.where(ArrayBuild.project_id == project_id, ArrayBuild.array == array)
    return session.scalars(query).first()


def take_build(session: Session, project_id: str, array: str, *, token: str) -> bool:
    """Become the one that fills an array; false when another running job does."""
    build = session.get(ArrayBuild, (project_id, array), populate_existing=True, with_for_update=True)
    if build is None:
        return added(session, ArrayBuild(project_id=project_id, array=array, token=token))
    if builder(session, project_id, array) not in {None, token}:  # asked while the row is held
        return False
    build.token = token
    session.flush()
    return True


def end_build(session: Session, project_id: str, array: str, *, token: str) -> None:
    """Let others fill the array."""
    mine = delete(ArrayBuild).where(ArrayBuild.project_id == project_id, ArrayBuild.array == array)
    session.execute(mine.where(ArrayBuild.token == token))


def chunk_of_row(session: Session, project_id: str, *, array: str, row: int) -> Chunk | None:
    """The live chunk that holds a row of an array."""
    query = select(Chunk).where(Chunk.project_id == project_id, Chunk.array == array, Chunk.retired.is_(None))
    return session.scalars(query.where(Chunk.start <= row, Chunk.stop > row).limit(1)).first()


def data_of(session: Session, project_id: str, rows: Sequence[int]) -> list[str | None]:
    """The data of those of the rows that hold a visible example, ascending by row."""
    query = select(Example.data).where(Example.project_id == project_id, visible(project_id))
    return list(session.scalars(query.where(among(session, Example.row, rows)).order_by(Example.row)))


def existing_rows(session: Session, project_id: str, *, start: int, stop: int) -> Sequence[int]:
    """The rows of [start, stop) that hold an example now."""
    query = select(Example.row).where(Example.project_id == project_id, Example.row >= start, Example.row < stop)
    return session.scalars(query).all()


def present_rows(session: Session, project_id: str, rows: Sequence[int]) -> list[int]:
    """Those of the rows that hold a visible example, ascending."""
    query = select(Example.row).where(Example.project_id == project_id, visible(project_id))
    return sorted(session.scalars(query.where(among(session, Example.row, rows))))


def overlapping(session: Session, project_id: str, array: str, *, start: int, stop: int) -> set[str]:
    """The keys of live chunks that hold any of the rows [start, stop)."""
    query = select(Chunk.key).where(Chunk.project_id == project_id, Chunk.array == array, Chunk.retired.is_(None))
    return set(session.scalars(query.where(Chunk.start < stop, Chunk.stop > start)))
