"""The nouns of cdmd as frozen structs: what arrives, what is kept, and the verdicts about it.

For: every floor above; nothing here reads, writes or decides. What comes by the thousand is hidden from the garbage collector
(``gc=False``): it is decoded or computed, so it refers to itself nowhere and counting references frees it. Times that leave the
process are aware datetimes in UTC, times that are compared or stored are ``Micros``.
"""

from cdmd.models.arriving import Accepted, Event, Fault, Filtered, Parts, Record, Rejected, Row, Verdict
from cdmd.models.carried import Carried, Emerged
from cdmd.models.deciding import Changes, Count, DeadLetter, Known, Parked, Regrouped, Seen, SeenVerdict, Wanted
from cdmd.models.delivering import (
    Attempt,
    Bound,
    Delivered,
    Delivery,
    DeliveryVerdict,
    Gone,
    Later,
    Never,
    Outgoing,
    Queued,
    Settled,
    TargetNote,
    TargetState,
    TargetTotals,
)
from cdmd.models.journaled import ERASED, Entry, Journaled, decode_entry, encode_entry, tombstone
from cdmd.models.outcomes import FAILED, Apply, Bury, Discard, Extended, Hold, Item, Outcome
from cdmd.models.profiles import Activity, IdentifierState, IndicatorState, Merge, Notice, ProfileState, TraitState
from cdmd.models.requests import Answer, Emission, Request, Route
from cdmd.models.times import BRIEFLY, EPOCH, LANE, Digest, Micros, ProfileKey, Seq, from_micros, show_time, to_micros

__all__ = [
    "BRIEFLY",
    "EPOCH",
    "ERASED",
    "FAILED",
    "LANE",
    "Accepted",
    "Activity",
    "Answer",
    "Apply",
    "Attempt",
    "Bound",
    "Bury",
    "Carried",
    "Changes",
    "Count",
    "DeadLetter",
    "Delivered",
    "Delivery",
    "DeliveryVerdict",
    "Digest",
    "Discard",
    "Emerged",
    "Emission",
    "Entry",
    "Event",
    "Extended",
    "Fault",
    "Filtered",
    "Gone",
    "Hold",
    "IdentifierState",
    "IndicatorState",
    "Item",
    "Journaled",
    "Known",
    "Later",
    "Merge",
    "Micros",
    "Never",
    "Notice",
    "Outcome",
    "Outgoing",
    "Parked",
    "Parts",
    "ProfileKey",
    "ProfileState",
    "Queued",
    "Record",
    "Regrouped",
    "Rejected",
    "Request",
    "Route",
    "Row",
    "Seen",
    "SeenVerdict",
    "Seq",
    "Settled",
    "TargetNote",
    "TargetState",
    "TargetTotals",
    "TraitState",
    "Verdict",
    "Wanted",
    "decode_entry",
    "encode_entry",
    "from_micros",
    "show_time",
    "to_micros",
    "tombstone",
]
