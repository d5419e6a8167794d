"""REGISTERs of phones, and their answers to challenges."""

from __future__ import annotations

from testkit.sip import Endpoint, Headers, Message, authorization, request
from tests.contract.books import DOMAIN
from tests.contract.scene import PASSWORD, Scene

URI = f"sip:{DOMAIN}"


def ask(phone: Endpoint, user: str, headers: Headers = (), **parts: object) -> Message:
    """Make a REGISTER of this user."""
    aor = f"sip:{user}@{DOMAIN}"
    given: dict[str, object] = {"from_uri": aor, "to_uri": aor, **parts}
    contact = f"<sip:{user}@{phone.address[0]}:{phone.address[1]}>"
    return request(
        "REGISTER",
        URI,
        phone.address,
        contact=contact,
        headers=[("Expires", "600"), *headers],
        **given,  # type: ignore[arg-type]
    )


def challenged(scene: Scene, phone: Endpoint, user: str) -> Message:
    answer = phone.ask(ask(phone, user), scene.edge)
    assert answer.status == 401
    return answer


def credentials(
    challenge: Message, user: str, password: str = PASSWORD, count: int = 1, only: str = ""
) -> Headers:
    """Answer the first challenge, or that of the algorithm *only*."""
    return [authorization(challenge, "REGISTER", URI, user, password, count, only)]
