"""`whence reload`: let the agent read its file again."""

from __future__ import annotations

from whence.cli import output
from whence.cli.client import ask
from whence.cli.options import DEFAULT_API, ApiOption, JsonOption


def reload(api: ApiOption = DEFAULT_API, json: JsonOption = False) -> None:
    """Read the file again, and say what changed; a faulty file changes nothing."""
    answer = ask(api, "/v1/reload", {})
    if json:
        output.as_json(answer)
        return
    words = {
        "added": "added",
        "removed": "removed",
        "changed": "changed",
        "users_changed": "users changed",
    }
    said = [f"{word}: {', '.join(answer[key])}" for key, word in words.items() if answer[key]]
    if answer["registration_changed"]:
        said.append("registration changed")
    print("; ".join(said) or "nothing changed that counts at once")
    if answer["needs_restart"]:
        print(
            "edge, agent or registration answer changed: start it again for that; who starts "
            "Kamailio himself writes its configuration anew (whence edge-config)"
        )
