"""Models and what they learn from."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Row, case, exists, false, func, or_, select, true
from sqlalchemy.orm import Session, aliased

from service.catalog.sources import OF_MODELS, LearnFrom
from service.db.queries.batches import filtered
from service.db.queries.examples import visible
from service.db.tables import Batch, BatchItem, Example, Label, Model, Pool


def get(session: Session, project_id: str, version: int) -> Model | None:
    """One version of a project's model."""
    return session.get(Model, (project_id, version))


def newest(session: Session, project_id: str) -> int:
    """The newest version, 0 without one; the pool is locked by whoever adds the next."""
    return session.execute(select(func.max(Model.version)).where(Model.project_id == project_id)).scalar_one() or 0


def gold_answers(session: Session, project_id: str) -> Sequence[Row[str, int, int]]:
    """By annotator: answers to gold questions, and how many of them are right."""
    joined = (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
    right = func.sum(case((Label.value == Example.gold, 1), else_=0))
    query = select(Label.annotator, func.count(), right).join(Example, joined)
    query = query.where(Example.project_id == project_id, Example.gold.is_not(None), Label.skip.is_(False))
    return session.execute(query.group_by(Label.annotator).order_by(func.count().desc(), Label.annotator)).all()


def newest_trained(session: Session, project_id: str) -> Model | None:
    """The newest version that was trained here."""
    query = select(Model).where(Model.project_id == project_id, Model.name.is_(None))
    return session.scalars(query.order_by(Model.version.desc()).limit(1)).first()


def find_open(session: Session, project_id: str, name: str, *, classes: Sequence[str]) -> Model | None:
    """The newest version of the client's model of that name that takes more predictions for these classes."""
    query = select(Model).where(Model.project_id == project_id, Model.name == name, Model.open.is_(True))
    query = query.where(Model.classes == list(classes)).order_by(Model.version.desc()).limit(1)
    return session.scalars(query.execution_options(populate_existing=True)).first()


def page(session: Session, project_id: str, *, below: int | None, size: int) -> Sequence[Model]:
    """Models, the newest first."""
    query = select(Model).where(Model.project_id == project_id).order_by(Model.version.desc()).limit(size)
    return session.scalars(query.where(Model.version < below) if below is not None else query).all()


def curve(session: Session, project_id: str) -> Sequence[Model]:
    """All models, the oldest first."""
    return session.scalars(select(Model).where(Model.project_id == project_id).order_by(Model.version)).all()


def answers(
    session: Session, project_id: str, *, split: str | None = None, learn_from: LearnFrom | None = None
) -> list[tuple[str, int, str, str, str]]:
    """Current labels: example id, row, split, class and annotator; sorted by example id, older answers first.

    Args:
        session: In a transaction.
        project_id: Whose labels.
        split: Only those of its examples; left out: of all but gold questions, which teach nothing.
        learn_from: Only those that models learn from, as the project says: of an example that a person has labelled
            what people say.
    """
    joined = (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
    query = (
        select(Example.example_id, Example.row, Example.split, Label.value, Label.annotator)
        .join(Label, joined)
        .where(Example.project_id == project_id, Label.skip.is_(False))
        .where(visible(project_id))
        .order_by(Example.example_id, Label.labeled_at, Label.value)
    )
    query = query.where(Example.split != "gold" if split is None else Example.split == split)
    if learn_from is not None and _has_automated(session, project_id):
        query = query.where(or_(Label.source == "human", _learnt(learn_from) & ~_said_by_people()))
    return [(*answer[:3], answer.value, answer.annotator) for answer in session.execute(query) if answer.value]


def automated_rows(session: Session, project_id: str) -> Sequence[int]:
    """Rows of the examples that have labels, but none by a person."""
    if not _has_automated(session, project_id):
        return []
    joined = (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
    query = select(Example.row).distinct().join(Label, joined).where(Example.project_id == project_id)
    return session.scalars(query.where(Label.source == "automated", ~_said_by_people())).all()


def picked_rows(session: Session, project_id: str) -> dict[int, bool]:
    """Rows of the labelled examples that batches brought before their first label, and whether any drew them at random.

    What is drawn out of a part of the pool only is picked. What is not among the rows was labelled without having been
    asked for.
    """
    said = (Label.project_id == Example.project_id) & (Label.example_id == Example.example_id)
    earlier = exists().where(said, Label.created_at < Batch.created_at)
    query = select(Example.row, BatchItem.job_id, BatchItem.propensity)
    query = query.join(BatchItem, BatchItem.example_id == Example.example_id)
    query = query.join(Batch, (Batch.job_id == BatchItem.job_id) & (Batch.project_id == Example.project_id))
    query = query.where(Example.project_id == project_id, Example.label_count > 0, ~earlier)
    found = session.execute(query).all()
    part = filtered(session, {one.job_id for one in found})
    drawn = {one.row for one in found if one.propensity is not None and one.job_id not in part}
    return {one.row: one.row in drawn for one in found}


def _has_automated(session: Session, project_id: str) -> bool:
    return session.execute(select(Pool.labels_automated).where(Pool.project_id == project_id)).scalar_one() > 0


def _learnt(learn_from: LearnFrom) -> ColumnElement[bool]:
    """Which automated labels models learn from."""
    if learn_from == "everything":
        return true()
    return (
        Label.annotator.not_like(OF_MODELS.replace("_", "\\_") + "%", escape="\\")
        if learn_from == "programs"
        else false()
    )


def _said_by_people() -> ColumnElement[bool]:
    other = aliased(Label)
    same = (other.project_id == Label.project_id) & (other.example_id == Label.example_id)
    return exists().where(same, other.source == "human", other.skip.is_(False))
