"""The lists of the API: one form for all, `{"items": […], "next": cursor}`, and one way to page.

A list has an order. The key of an item is a text that grows in this order. The cursor is the key of
the last item of a page, and the next page begins after it. So a page needs no state in the agent,
and an item that was removed meanwhile breaks nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

LIMIT = 100
LONGEST = 1000
"""The default and the most items of a page."""

Item = TypeVar("Item")
View = TypeVar("View", bound=BaseModel)


class Page(BaseModel, Generic[View]):
    """A page of a list. A subclass names it in the description of the API."""

    items: list[View]
    next: str | None = Field(description="the cursor of the next page; null: this is the last")


AnyPage = TypeVar("AnyPage", bound=Page[Any])


class ListQuery(BaseModel):
    """The query of every list. A list with filters has a subclass."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=LIMIT, ge=1, le=LONGEST, description="the most items of the page")
    cursor: str | None = Field(
        default=None,
        max_length=1000,
        description="`next` of the page before; none: the first",
    )


def page(
    kind: type[AnyPage],
    items: Iterable[Item],
    query: ListQuery,
    key: Callable[[Item], str],
    view: Callable[[Item], BaseModel],
) -> AnyPage:
    """Return the page of `items` that `query` asks for, in the order of `key`.

    `items`: all items that the filters leave, in any order. `key`: an item → a text that is its
    own. `view`: makes the answer's form; it is called for the items of the page alone.
    """
    after = query.cursor
    keyed = ((key(item), number, item) for number, item in enumerate(items))
    left = keyed if after is None else (one for one in keyed if one[0] > after)
    first = heapq.nsmallest(query.limit + 1, left, key=lambda one: one[:2])
    found = first[: query.limit]
    return kind(
        items=[view(item) for *_, item in found],
        next=found[-1][0] if len(first) > query.limit else None,
    )


def descending(number: float) -> str:
    """Return a key that is smaller for a greater number: for lists with the greatest first."""
    return f"{10**18 - int(number):019d}"


def ascending(number: int) -> str:
    """Return a key in the order of whole numbers."""
    return f"{number:019d}"
