"""The part of a path that is an order for a trunk. Another word there is another path."""

from __future__ import annotations

from starlette.convertors import StringConvertor, register_url_convertor

from whence.agent.registration.attempts import ORDERS


class _OrderConvertor(StringConvertor):
    regex = "|".join(ORDERS)


register_url_convertor("order", _OrderConvertor())

ORDER_PATH = "/v1/trunks/{id}/{order:order}"
