"""The demo's conversation and the shop behind it, read from the data file that ships with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

from assistantguard.errors import ConfigurationError

__all__ = ["Call", "Shop", "Spiral", "Story", "Turn", "load_story"]


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that the scripted model makes."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spiral:
    """A tool that the scripted model calls again and again, one shop after the other."""

    tool: str
    sku: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One user message, and what the scripted model does about it."""

    user: str
    answer: str
    steps: Sequence[Sequence[Call]] = ()
    """Calls of each step, before the answer."""
    search: str | None = None
    """What the model looks for in the attached files, or None."""
    needs: Sequence[str] = ()
    """Values from earlier turns without which the model cannot answer."""
    rate_limit: bool = False
    """Whether the first two requests of this turn are refused with 429."""
    spiral: Spiral | None = None


@dataclass(frozen=True)
class Shop:
    """The shop's records, and the tools over them."""

    orders: Mapping[str, Mapping[str, Any]]
    parcels: Mapping[str, Mapping[str, Any]]
    products: Mapping[str, Mapping[str, Any]]
    stock: Mapping[str, Mapping[str, int]]
    returns: Sequence[Mapping[str, Any]]

    def look_up_order(self, order_id: str) -> Mapping[str, Any]:
        """Look up an order: lines, prices, discount, total, invoice and parcels.

        Args:
            order_id: The order's number, for example LK-40001.
        """
        return _record(self.orders, order_id, "order")

    def track_parcel(self, tracking_number: str) -> Mapping[str, Any]:
        """Say where a parcel is.

        Args:
            tracking_number: The carrier's number, for example JD-1000-2000.
        """
        return _record(self.parcels, tracking_number, "parcel")

    def check_stock(self, sku: str, shop: str) -> Mapping[str, Any]:
        """Say how many pieces of an article a shop has.

        Args:
            sku: The article's number, with its size where it has one.
            shop: The shop's name.
        """
        return {"sku": sku, "shop": shop, "pieces": self.stock.get(sku, {}).get(shop, 0), "counted": "this morning"}

    def product_details(self, sku: str) -> Mapping[str, Any]:
        """Describe an article: price, weight, sizes, materials.

        Args:
            sku: The article's number.
        """
        return _record(self.products, sku, "article")

    def start_return(self, order_id: str, sku: str, reason: str) -> Mapping[str, Any]:
        """Start a return or an exchange of one article.

        Args:
            order_id: The order that it was bought with.
            sku: The article's number.
            reason: Why it comes back.
        """
        for entry in self.returns:
            if (entry["order_id"], entry["sku"]) == (order_id, sku):
                return {**entry, "reason": reason}
        raise LookupError(f"order {order_id!r} has no article {sku!r} that can be returned")

    @cached_property
    def tools(self) -> list[Any]:
        """The tools, as an assistant takes them."""
        return [self.look_up_order, self.track_parcel, self.check_stock, self.product_details, self.start_return]


@dataclass(frozen=True)
class Story:
    """The whole conversation."""

    shop_name: str
    instructions: str
    files: Mapping[str, str]
    """Texts by file name."""
    shops: Sequence[str]
    """Names of the shops that the spiral goes through."""
    turns: Sequence[Turn]
    shop: Shop = field(repr=False)

    def requests_before(self, turn: int) -> int:
        """How many model calls the turns before `turn` (from 0) make, the spiral in full."""
        return sum(1 + (len(self.shops) if one.spiral else len(one.steps)) for one in self.turns[:turn])


def load_story() -> Story:
    """Read the story that ships with the package.

    Raises:
        ConfigurationError: The data file is missing or is not the package's own.
    """
    try:
        text = resources.files("assistantguard.demo").joinpath("conversation.json").read_text(encoding="utf-8")
        return _story(json.loads(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"the demo's conversation.json cannot be read ({error!r}): install assistantguard again"
        ) from error


def _story(data: Mapping[str, Any]) -> Story:
    shop = Shop(
        {one["order_id"]: one for one in data["orders"]},
        {one["tracking_number"]: one for one in data["parcels"]},
        {one["sku"]: one for one in data["products"]},
        data["stock"],
        data["returns"],
    )
    files = {one["name"]: one["text"] for one in data["files"]}
    turns = [_turn(one) for one in data["turns"]]
    return Story(data["shop"], data["instructions"], files, data["shops"], turns, shop)


def _turn(data: Mapping[str, Any]) -> Turn:
    steps = [[Call(call["tool"], call["arguments"]) for call in step] for step in data.get("steps", ())]
    spiral = Spiral(**data["spiral"]) if "spiral" in data else None
    return Turn(
        data["user"],
        data["answer"],
        steps,
        data.get("search"),
        data.get("needs", ()),
        data.get("rate_limit", False),
        spiral,
    )


def _record(records: Mapping[str, Mapping[str, Any]], key: str, kind: str) -> Mapping[str, Any]:
    if key not in records:
        raise LookupError(f"there is no {kind} {key!r}")
    return records[key]
