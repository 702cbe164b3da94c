"""What goes into the service and comes out of it: the types behind its OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import BaseModel, Field

Id = Annotated[int, Path(ge=0, le=2**31 - 1)]
Count = Annotated[int, Query(ge=1, le=100)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Event(BaseModel):
    """Something a household did; the same id sent again changes nothing."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
    household: Number
    item: Number
    kind: Literal["purchase", "view", "removal"] = "purchase"
    time: Annotated[float, Field(ge=0, le=1e11)] | None = None


class Problem(BaseModel):
    """An error, as RFC 9457 writes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Entry(BaseModel):
    """An item, or a reason without one, and its score."""

    item: int | None
    name: str
    score: float
    seen: bool = False
    because: list[Entry] = []


class Answer(BaseModel):
    """A list; `known` is false where a household gets what every new one gets."""

    items: list[Entry]
    household: int | None = None
    known: bool | None = None
    version: str


class Stored(BaseModel):
    """What became of the events that were sent."""

    stored: int
    repeated: int


PROBLEMS = {
    code: {"model": Problem, "content": {"application/problem+json": {}}}
    for code in (400, 401, 404, 405, 413, 422, 429, 500, 503)
}
