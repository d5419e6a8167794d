"""Find the known recipe in a kamailio.cfg: it stores the source of each 200 to a REGISTER.

docs/drop-in.md shows the recipe, and why a forged reply defeats it.
"""

from __future__ import annotations

from collections.abc import Iterator

from whence.agent.dropin.kamailio_cfg.model import Block, Cfg, Place

_WORDS_LOOKED_AT = 40
"""How many tokens after `$sht(` may belong to it."""


def tables(cfg: Cfg) -> dict[str, Place]:
    """Return the tables that store sources of answers to a REGISTER, and where they are written."""
    return {
        name: place
        for block in cfg.blocks
        if runs_for_all_replies(block) and any("REGISTER" in token.text for token in block.body)
        for place, name, words in table_uses(block)
        if "si" in words
    }


def runs_for_all_replies(block: Block) -> bool:
    """Return whether Kamailio runs a route for each datagram that looks like a reply."""
    return block.kind == "onreply_route" and not block.name


def table_uses(block: Block) -> Iterator[tuple[Place, str, list[str]]]:
    """Yield each `$sht(table=>…)`: (place, table, the words that follow)."""
    body = block.body
    for i, token in enumerate(body[:-3]):
        if token.text == "$" and body[i + 1].text == "sht" and body[i + 2].text == "(":
            words = [t.text for t in body[i : i + _WORDS_LOOKED_AT]]
            yield token.place, body[i + 3].text, words
