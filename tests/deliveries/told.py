"""A world whose batches send: targets over the same profiles, indicators and audiences as everywhere else in the tests."""

from typing import Any

import msgspec

from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.config.schema import IndicatorSettings
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.profiles.telling import ToldValues
from tests.batches.world import INDICATORS, World, rules

SPENT = IndicatorSettings(on="order.*", value="{data.total}", compute="sum", thresholds=(50.0, 20.0))


def frame(*events: str, **keys: Any) -> TargetFrame:
    return TargetFrame(type="webhook", events=events, **keys)


def sending(running: tuple[str, ...] = (), **targets: TargetFrame) -> World:
    """A world where these targets want something."""
    settings = {**INDICATORS, "spent": SPENT}
    audiences = rules(indicators=settings)
    configs = [TargetConfig(name=name, frame=one, settings=None, file="x") for name, one in targets.items()]
    values = ToldValues(audiences, settings)
    return World(audiences, Subscriptions(configs, values, journal_id="journal", running=running))


def told(world: World, target: str = "crm") -> list[dict[str, Any]]:
    """What was sent to it, decoded."""
    return [msgspec.json.decode(one.body) for one in world.deliveries if one.target == target]


def types(world: World, target: str = "crm") -> list[str]:
    return [one.type for one in world.deliveries if one.target == target]
