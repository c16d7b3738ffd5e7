"""Reports on annotators."""

from datetime import datetime

from sqlalchemy.orm import Session

from service.actions import jobs
from service.db.tables import Job, Project
from service.queue.messages import AgreementMessage


def ask(session: Session, project: Project, *, now: datetime, share: int, room: jobs.Room) -> Job:
    """Queue a report on the answers of the moment at which it is made."""
    return jobs.enqueue(
        session, project_id=project.id, kind="agreement", message=AgreementMessage(), now=now, share=share, room=room
    )
