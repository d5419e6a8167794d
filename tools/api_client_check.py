"""Use the client that openapi-python-client generated: create a trunk, list it, and remove it.

Usage: ``api_client_check.py URL``, with the package ``client`` on the path.
"""

import sys
from http import HTTPStatus

from client import Client
from client.api.trunks import delete_trunk, get_trunk, list_trunks, put_trunk
from client.models import PutTrunkBody


def main(url: str) -> None:
    """Create, list, read and remove a trunk. An AssertionError says what failed."""
    client = Client(base_url=url)
    body = PutTrunkBody.from_dict(
        {
            "registrar": "sip:192.0.2.1",
            "user": "acct9",
            "password": "a secret",
            "target": "sip:alice@edge.example",
        }
    )
    made = put_trunk.sync_detailed("generated", client=client, body=body)
    assert made.status_code == HTTPStatus.CREATED, made.content
    listed = list_trunks.sync(client=client)
    assert listed is not None
    assert "generated" in [trunk.id for trunk in listed.items]
    trunk = get_trunk.sync("generated", client=client)
    assert trunk is not None and trunk.since.year >= 2024, "an instant is a datetime"
    gone = delete_trunk.sync_detailed("generated", client=client, if_match="*")
    assert gone.status_code == HTTPStatus.NO_CONTENT, gone.content
    print("OK: the generated client creates, lists, reads and removes a trunk")


if __name__ == "__main__":
    main(sys.argv[1])
