"""What a reload changed, key by key."""

from cdmd.config.differing import MOST, Difference, differences


def test_what_was_added_changed_and_removed_is_told_by_key() -> None:
    before = {"http": {"listen": ["a"]}, "connectors": {"shop": {"freshness": "5s"}, "old": {"type": "rest"}}, "same": 1}
    after = {"http": {"listen": ["a", "b"]}, "connectors": {"shop": {"freshness": "5s", "where": "x"}, "new": {}}, "same": 1}
    assert differences(before, after) == [
        Difference("connectors.new", None, "{}"),
        Difference("connectors.old.type", '"rest"', None),
        Difference("connectors.shop.where", None, '"x"'),
        Difference("http.listen", '["a"]', '["a", "b"]'),
    ]
    assert differences(after, after) == []


def test_neither_many_keys_nor_long_values_fill_the_memory() -> None:
    found = differences({}, {f"key{number:04}": "x" * 1000 for number in range(2 * MOST)})
    assert len(found) == MOST
    assert all(len(one.after or "") <= 201 for one in found)
