"""News of the fleet's state, to all who want it."""

from broker.contract import Broker
from broker.events import BreakerChanged, Event, HealthReported, StateWanted
from tests.conformance.carriers import Inbox
from tests.conformance.conftest import Connect


def report(service: str, sequence: int = 1) -> HealthReported:
    """What a prober says of a service."""
    healthy = {"http://a:1": True, "http://b:1": False}
    return HealthReported(
        service=service, node="w1", sequence=sequence, valid_for=90.0, healthy=healthy
    )


async def test_every_subscriber_hears(connect: Connect, service: str) -> None:
    """An event reaches all who subscribed to its kind, its own publisher among them, as it was."""
    inboxes: list[Inbox[Event]] = [Inbox(), Inbox(), Inbox()]
    brokers = [await connect() for _ in inboxes]
    for broker, inbox in zip(brokers, inboxes, strict=True):
        await broker.subscribe([BreakerChanged, HealthReported], inbox)
    opened = BreakerChanged(service=service, node="d1", state="open", failing_for=1.25)
    brokers[0].publish_event(opened)
    brokers[0].publish_event(report(service))

    for inbox in inboxes:
        assert await inbox.take(2) == [opened, report(service)]


async def test_nobody_hears_of_other_kinds(broker: Broker, service: str) -> None:
    """Who subscribed to one kind is not bothered with another."""
    inbox: Inbox[Event] = Inbox()
    await broker.subscribe([HealthReported], inbox)
    broker.publish_event(BreakerChanged(service=service, node="d1", state="closed"))
    broker.publish_event(StateWanted(kind="health"))
    broker.publish_event(report(service))
    assert await inbox.next() == report(service)
    assert inbox.waiting == 0


async def test_events_come_in_their_order(connect: Connect, service: str) -> None:
    """Of two hundred reports of one broker none overtakes another."""
    inbox: Inbox[Event] = Inbox()
    await (await connect()).subscribe([HealthReported], inbox)
    publisher = await connect()
    reports = [report(service, sequence) for sequence in range(200)]
    for each in reports:
        publisher.publish_event(each)
    assert await inbox.take(200) == reports


async def test_names_with_dots_are_names(broker: Broker, service: str) -> None:
    """A service may have dots in its name, which mean something in the keys of topics."""
    inbox: Inbox[Event] = Inbox()
    await broker.subscribe([HealthReported], inbox)
    broker.publish_event(report(f"{service}.eu.v2"))
    assert await inbox.next() == report(f"{service}.eu.v2")


async def test_who_comes_late_asks_for_the_state(connect: Connect, service: str) -> None:
    """What was said is not kept for a late subscriber; who knows is asked, and says it again."""
    prober, late = await connect(), await connect()
    said: Inbox[Event] = Inbox()
    await prober.subscribe([HealthReported], said)
    await prober.subscribe([StateWanted], lambda _: prober.publish_event(report(service, 2)))
    prober.publish_event(report(service, 1))
    await said.next()

    heard: Inbox[Event] = Inbox()
    await late.subscribe([HealthReported], heard)
    late.publish_event(StateWanted(kind="health"))
    assert await heard.next() == report(service, 2)


async def test_who_left_hears_no_more(connect: Connect, service: str) -> None:
    """A broker that was closed is told nothing, and the others go on."""
    inbox: Inbox[Event] = Inbox()
    stays = await connect()
    leaves = await connect()
    left: Inbox[Event] = Inbox()
    await stays.subscribe([HealthReported], inbox)
    await leaves.subscribe([HealthReported], left)
    await leaves.__aexit__(None, None, None)
    stays.publish_event(report(service))
    await inbox.next()
    assert left.waiting == 0
