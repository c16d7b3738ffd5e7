"""Parameters that several strategies share."""

from service.catalog.entries import Schema

MAX_CANDIDATES: Schema = {
    "type": "integer",
    "minimum": 100,
    "maximum": 200_000,
    "default": 20_000,
    "description": "A larger pool is reduced to a seeded random sample of this size first.",
}
