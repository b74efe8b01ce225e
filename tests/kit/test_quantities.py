import pytest

from cdmd.kit.quantities import Duration, Rate, Size, spoken


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("1s", 1), ("5m", 300), ("2h", 7200), ("7d", 604_800), ("1w", 604_800), ("0s", 0)]
)
def test_a_duration_is_an_integer_and_a_unit(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == seconds
    assert Duration.parse(text).micros == seconds * 1_000_000
    assert str(Duration.parse(text)) == text


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("2KiB", 2048), ("1MiB", 2**20), ("3GiB", 3 * 2**30)])
def test_a_size_is_an_integer_and_a_unit(text: str, size: int) -> None:
    assert Size.parse(text).bytes == size
    assert str(Size.parse(text)) == text


def test_a_rate_is_a_count_in_a_duration() -> None:
    assert (Rate.parse("100/10s").count, Rate.parse("100/10s").per) == (100, 10.0)
    assert str(Rate.parse("1/500ms")) == "1/500ms"


def test_made_quantities_show_themselves() -> None:
    assert [str(Duration(1.5)), str(Size(3)), str(Rate(2, 1.0))] == ["1.5s", "3B", "2/1s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "250ms"), (60, "60s"), (300, "5m"), (750, "12.5m"), (5400, "90m"), (9000, "2.5h"), (1e6, "11.6d")],
)
def test_lengths_of_time_are_spoken_in_the_largest_unit_of_which_there_are_two(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1.5h", "5M", "5MB", "\u0665m", "9" * 16 + "s", "1mB"])
def test_anything_else_is_neither(text: str) -> None:
    for kind in (Duration, Size):
        with pytest.raises(ValueError, match="for example"):
            kind.parse(text)


@pytest.mark.parametrize("text", ["", "100", "100/", "/10s", "0/1s", "-1/1s", "1.5/1s", "²/1s", "100/10"])
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="for example"):
        Rate.parse(text)
