"""Names and limits of the queues."""

from broker.topology import RequestQueue, reply_queue, request_queues, routing_key


def test_a_queue_is_named_after_its_service_and_tier() -> None:
    """The name at the broker is the exchange's, then the routing key."""
    queue = RequestQueue("users", "FREE", 10)
    assert queue.routing_key == routing_key("users", "FREE") == "users.FREE"
    assert queue.name == "gateway.requests.users.FREE"


def test_every_service_has_a_queue_for_every_tier() -> None:
    """The queues are the product of services and tiers, each with the limit of its tier."""
    assert request_queues(["users", "orders"], {"FREE": 1, "PRO": 2}) == [
        RequestQueue("users", "FREE", 1),
        RequestQueue("users", "PRO", 2),
        RequestQueue("orders", "FREE", 1),
        RequestQueue("orders", "PRO", 2),
    ]


def test_each_ingress_node_has_a_reply_queue() -> None:
    """Replies of one node never share a queue with another's."""
    assert reply_queue("a") == "gateway.replies.a"
    assert reply_queue("a") != reply_queue("b")
