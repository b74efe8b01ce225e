"""The Protocols that join the rooms: what a plugin fulfils, and what a floor needs from above it.

Not here: any implementation. A connector meets the daemon only through its ``Source``; the journal and the store are
replaceable behind ``Journal`` and ``Store``.
"""

from cdmd.contracts.clock import Clock, SleeplessClock
from cdmd.contracts.connectors import (
    ChosenFormat,
    Connector,
    DecidingConnector,
    ErasingConnector,
    Examining,
    Format,
    NotifiedConnector,
    PullConnector,
    PushConnector,
    RetryingConnector,
    SamplingConnector,
    SharingConnector,
    Shelf,
    ShowingConnector,
)
from cdmd.contracts.directory import Audit, Directory, Person
from cdmd.contracts.duties import DELIVER, PULL, Duties, Holder, Part
from cdmd.contracts.errands import Errand, Errands
from cdmd.contracts.extensions import Context, Extension, ExtensionFunction, Remap
from cdmd.contracts.forgetting import BEGINNING, ActivityPage, Forgetting, Hidden, Holding, RevisedPage, SplitPage
from cdmd.contracts.http import Budget, Http, HttpAnswer, HttpAnswerT, Turn
from cdmd.contracts.journal import Answering, Append, Divided, Feeds, Journal, JournalReplica, JournalStatistics, Revise, Take
from cdmd.contracts.lanes import Lanes, Node
from cdmd.contracts.leases import Lease, Leases
from cdmd.contracts.membership import AudienceTotals, History, Member, Membership
from cdmd.contracts.outbox import AttemptFilter, Outbox
from cdmd.contracts.privacy import Naming, Screen
from cdmd.contracts.sources import BulkTable, BulkWriter, Source
from cdmd.contracts.store import DeadLetterCause, DeadLetterFilter, Decide, Derive, ProfileFound, Store, StoreTotals, Trace
from cdmd.contracts.streams import EventSettings, LookingConnector, StreamFrame, StreamingConnector, StreamOutlook
from cdmd.contracts.targets import Addressee, DeliveringTarget, Outlet, RunningTarget, Target
from cdmd.contracts.values import Question, Values
from cdmd.contracts.witnesses import Witness

__all__ = [
    "BEGINNING",
    "DELIVER",
    "PULL",
    "ActivityPage",
    "Addressee",
    "Answering",
    "Append",
    "AttemptFilter",
    "AudienceTotals",
    "Audit",
    "Budget",
    "BulkTable",
    "BulkWriter",
    "ChosenFormat",
    "Clock",
    "Connector",
    "Context",
    "DeadLetterCause",
    "DeadLetterFilter",
    "Decide",
    "DecidingConnector",
    "DeliveringTarget",
    "Derive",
    "Directory",
    "Divided",
    "Duties",
    "ErasingConnector",
    "Errand",
    "Errands",
    "EventSettings",
    "Examining",
    "Extension",
    "ExtensionFunction",
    "Feeds",
    "Forgetting",
    "Format",
    "Hidden",
    "History",
    "Holder",
    "Holding",
    "Http",
    "HttpAnswer",
    "HttpAnswerT",
    "Journal",
    "JournalReplica",
    "JournalStatistics",
    "Lanes",
    "Lease",
    "Leases",
    "LookingConnector",
    "Member",
    "Membership",
    "Naming",
    "Node",
    "NotifiedConnector",
    "Outbox",
    "Outlet",
    "Part",
    "Person",
    "ProfileFound",
    "PullConnector",
    "PushConnector",
    "Question",
    "Remap",
    "RetryingConnector",
    "Revise",
    "RevisedPage",
    "RunningTarget",
    "SamplingConnector",
    "Screen",
    "SharingConnector",
    "Shelf",
    "ShowingConnector",
    "SleeplessClock",
    "Source",
    "SplitPage",
    "Store",
    "StoreTotals",
    "StreamFrame",
    "StreamOutlook",
    "StreamingConnector",
    "Take",
    "Target",
    "Trace",
    "Turn",
    "Values",
    "Witness",
]
