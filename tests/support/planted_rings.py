"""Jobs in Redis as somebody would plant them."""

import json

from redis import Redis

from service.queue.messages import INTERACTIVE

QUEUE = f"rq:queue:{INTERACTIVE}"


def call(name: str = "gleaner.run_job", **kwargs: object) -> bytes:
    """A call as RQ writes it."""
    return json.dumps([name, None, [], kwargs]).encode()


def push(redis: Redis, rq_id: bytes, **fields: bytes | str) -> None:
    """Plant a job with these fields, none if there are none, and ring it."""
    if fields:
        usual: dict[str, bytes | str] = {
            "created_at": "2026-01-01T00:00:00.000000Z",
            "origin": INTERACTIVE,
            "timeout": "60",
            "status": "queued",
        }
        redis.hset(b"rq:job:" + rq_id, mapping={**usual, **fields})  # type: ignore[dict-item] # keys of one type
    redis.rpush(QUEUE, rq_id)
