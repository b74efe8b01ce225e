"""The parts of the demo, in the order of their scenes. A new one is its module and a line here."""

from cdmd.cli.demo.agency import Agency
from cdmd.cli.demo.application import Application
from cdmd.cli.demo.client import Client
from cdmd.cli.demo.crm import Crm
from cdmd.cli.demo.part import Part
from cdmd.cli.demo.shop import Shop
from cdmd.cli.demo.supplier import Supplier
from cdmd.cli.demo.support import Support
from cdmd.cli.demo.survey import Survey
from cdmd.cli.demo.television import Television


def all_parts(television: Television) -> tuple[Part, ...]:
    """Every neighbour of the daemon; the television plays on when the others are done."""
    return (
        Shop(),
        Support(),
        television,
        Application(),
        Survey(),
        Supplier(),
        Crm(),
        Client(),
        Agency(),
    )
