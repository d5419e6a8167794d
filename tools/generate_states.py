"""Write the generated parts of the documents: `make generate`.

Each part is between two comments, `<!-- generated: NAME -->` and `<!-- end of NAME -->`. With
`--check` the tool writes nothing: it prints each document that is not current, and exits with 1.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import get_args

from whence.core.registration.events import Action, MachineEvent
from whence.core.registration.model import State, StatusClass
from whence.core.registration.transitions import MEANINGS, TRANSITIONS, EventKind, Outcome

ROOT = Path(__file__).resolve().parent.parent

STAYS = "stays"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def first_sentence(documented: type) -> str:
    """Return the first sentence of a class's docstring."""
    text = " ".join((documented.__doc__ or "").split())
    return re.split(r"(?<=\.) |: `", text)[0].rstrip(".") + "."


def states() -> str:
    """Return the table of the states' meanings."""
    return table(["State", "Meaning"], ([f"`{s}`", MEANINGS[s]] for s in State))


def events() -> str:
    """Return the tables of the events' and the actions' meanings."""
    facts = ([f"`{c.__name__}`", first_sentence(c)] for c in get_args(MachineEvent))
    actions = ([f"`{c.__name__}`", first_sentence(c)] for c in get_args(Action))
    return (
        table(["Event", "Meaning"], [*facts, ["`Restart`", "The agent starts again."]])
        + "\n\n"
        + table(["Action", "Meaning"], actions)
    )


def diagram() -> str:
    """Return the diagram of the states, their next states, and the events between them."""
    width = max(len(state) for state in State)
    lines = []
    for state in State:
        first = state.value
        for following in State:
            leads = [
                kind
                for kind in EventKind
                if any(o.state is following for o in TRANSITIONS[state, kind])
            ]
            if following is state or not leads:
                continue
            lines.append(f"{first:<{width}} ──► {following:<{width}}  {label(leads)}")
            first = ""
    return "```text\n" + "\n".join(lines) + "\n```"


def label(kinds: Sequence[EventKind]) -> str:
    """Return the names of events in one line, with all answers together."""
    statuses = [kind.removeprefix("Answered ") for kind in kinds if kind.startswith("Answered ")]
    others = [str(kind) for kind in kinds if not kind.startswith("Answered ")]
    if len(statuses) == len(StatusClass):
        statuses = ["any status"]
    return "; ".join([f"Answered {', '.join(statuses)}"] * bool(statuses) + others)


def transitions() -> str:
    """Return a table for each event: its outcomes by state. Equal states share a row."""
    return "\n\n".join(f"### {kind}\n\n{transitions_of(kind)}" for kind in EventKind)


def transitions_of(kind: EventKind) -> str:
    """Return the table of one event."""
    alike: dict[frozenset[tuple[str, str]], list[State]] = defaultdict(list)
    for state in State:
        alike[frozenset(cells(state, o) for o in TRANSITIONS[state, kind])].append(state)
    rows = []
    for outcomes, in_states in alike.items():
        first = ", ".join(f"`{state}`" for state in in_states)
        for following, actions in sorted(outcomes, key=lambda cells: (cells[0] == STAYS, cells)):
            rows.append([first, following, actions])
            first = ""
    return table(["In state", "Next state", "Actions"], rows)


def cells(state: State, outcome: Outcome) -> tuple[str, str]:
    """Return the cells of an outcome: the next state, and the actions."""
    following = STAYS if outcome.state is state else f"`{outcome.state}`"
    return following, ", ".join(f"`{action.__name__}`" for action in outcome.actions) or "none"


DOCUMENTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/registration-states.md": {
        "states": states,
        "events": events,
        "diagram": diagram,
        "transitions": transitions,
    }
}


def with_parts(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return the text of a document with new generated parts."""
    for name, render in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->\n"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"no part {name}: write the lines {begin}and {end}")
        text = f"{before}{begin}\n{render()}\n\n{end}{after}"
    return text


def main(arguments: Sequence[str]) -> int:
    """Write the documents, or compare them; return the exit status."""
    outdated = False
    for name, parts in DOCUMENTS.items():
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        current = with_parts(text, parts)
        if text == current:
            continue
        outdated = True
        if "--check" in arguments:
            print(f"{name} is not current: make generate")
        else:
            path.write_text(current, encoding="utf-8")
    return int(outdated and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
