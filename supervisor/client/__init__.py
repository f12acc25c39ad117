"""The control methods over HTTP, for `piesctl` and for programs of others.

from supervisor.client import Client, Order, find

client = Client(find())
client.order(Order("restart", {"op": "component", "arg": "web"}, wait=30))
"""

from supervisor.client.client import ALL, Alive, Client, Json, Order, Pending, Selector
from supervisor.client.errors import (
    BadAddress,
    BadFile,
    ClientError,
    NotSettled,
    Refused,
    Unreachable,
)
from supervisor.client.place import InetPlace, Place, UnixPlace, find, parse_url
from supervisor.client.stream import Message

__all__ = [
    "ALL",
    "Alive",
    "BadAddress",
    "BadFile",
    "Client",
    "ClientError",
    "InetPlace",
    "Json",
    "Message",
    "NotSettled",
    "Order",
    "Pending",
    "Place",
    "Refused",
    "Selector",
    "UnixPlace",
    "Unreachable",
    "find",
    "parse_url",
]
