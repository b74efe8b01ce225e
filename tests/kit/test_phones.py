import subprocess
import sys

import pytest

from cdmd.kit.normalising import normalise
from cdmd.kit.phones import e164, regions


@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        ("+46 (0)70-123 45 67", None, "+46701234567"), ("+460701234567", None, "+46701234567"),
        ("0046701234567", None, "+46701234567"), ("tel:+46-70-123\u201145\u201167", None, "+46701234567"),
        ("070-123 45 67", "SE", "+46701234567"), ("070-123 45 67", "se", "+46701234567"), ("46701234567", "SE", "+46701234567"),
        ("+\u0664\u0666701234567", None, "+46701234567"), ("(212) 555-0123", "US", "+12125550123"),
        ("011 46 70 123 45 67", "US", "+46701234567"), ("02 1234 5678", "IT", "+390212345678"),
        ("8 (912) 345-67-89", "RU", "+79123456789"), ("+44 20 7946 0958", "SE", "+442079460958"),
    ],
)  # fmt: skip
def test_a_number_is_read_by_its_countrys_plan(written: str, region: str | None, number: str) -> None:
    assert e164(written, region) == number


@pytest.mark.parametrize(
    ("written", "region"),
    [
        ("0701234567", None), ("701234567", None), ("070-123 45 67", "US"), ("+0701234567", None), ("+46", None),
        ("1" * 40, None), ("1" * 41, "SE"), ("+4670123456x", None), ("call me", "SE"), ("call me 0701234567", "SE"),
        ("070-1234567/070-7654321", "SE"), ("1-800-FLOWERS", "US"), ("0000", "SE"), ("00000000", "SE"), ("112", "SE"),
        ("000701234567", "SE"), ("1234567890", "US"), ("+15550109999", None), ("+999123456789", None), ("", "SE"),
    ],
)  # fmt: skip
def test_what_is_no_number_of_its_country_has_no_form(written: str, region: str | None) -> None:
    assert e164(written, region) is None


def test_what_many_people_share_has_no_form() -> None:
    assert e164("+1 800 356 9377") is None
    assert e164("+46 900 123 45 67") is None
    assert e164("+1 212 555 0123 ext. 5") is None
    assert e164("+46701234567;ext=3") is None


def test_the_form_of_a_phone_is_this_one() -> None:
    assert normalise("phone", " 070-123 45 67 ", region="SE") == "+46701234567"
    assert normalise("phone", "0701234567") is None


def test_regions_are_named_as_iso_does() -> None:
    assert {"SE", "US", "BR"} <= set(regions())
    assert "XX" not in regions()


def test_nobody_pays_for_the_numbering_plans_before_a_number_is_read() -> None:
    code = "import sys, cdmd.daemon.parts, cdmd.cli.running; sys.exit('phonenumbers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
