import pytest

from service.security import keys


def test_generated_keys_are_well_formed_distinct_and_hinted() -> None:
    made = {keys.generate() for _ in range(100)}
    assert len(made) == 100
    assert all(keys.is_well_formed(key) and len(key) == 32 and key.startswith("gln_") for key in made)
    key = made.pop()
    assert keys.hint(key) == key[-4:]


def test_any_changed_character_breaks_the_checksum() -> None:
    key = keys.generate()
    for place in range(len("gln_"), len(key)):
        other = "A" if key[place] != "A" else "B"
        assert not keys.is_well_formed(key[:place] + other + key[place + 1 :])


# Random values have a fixed id: parallel workers of pytest must collect the same tests.
@pytest.mark.parametrize(
    "text",
    [
        "",
        "gln_",
        "gln_short",
        "sk_" + "a" * 29,
        pytest.param(keys.generate() + "\n", id="line break"),
        "gln_" + "é" * 28,
        "gln_" + "changeme" * 4,
    ],
)
def test_other_texts_are_not_well_formed(text: str) -> None:
    assert not keys.is_well_formed(text)


@pytest.mark.parametrize("text", ["gln_test_admin_key_0123456789", "gln_" + "0aZ7b1Yd" * 5])
def test_an_operators_key_is_well_formed(text: str) -> None:
    assert keys.is_well_formed(text)


def test_fingerprint_is_sha256_and_shows_nothing_of_the_key() -> None:
    assert keys.fingerprint("gln_abc") == "399d7f044a55f6af596648a5cbbaf3f0ec94c834b255c47ee7f8bb336bdd6c0e"


@pytest.mark.parametrize(
    "value",
    [pytest.param(keys.generate(), id="generated"), "gln_test_admin_key_0123456789", "gln_0f9a~b.c+d/e=-12345"],
)
def test_admin_keys_that_are_accepted(value: str) -> None:
    keys.check_admin_key(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty"),
        ("gln_short", "at least 20"),
        ("secret-0123456789-0123456789", "begin with"),
        ("gln_with a space 0123456789", "letters, digits"),
        ("gln_ünïcödé0123456789ab", "letters, digits"),
        ("gln_aaaaaaaaaaaaaaaaaaaaaa", "default"),
        ("gln_change-me-change-me", "default"),
        ("gln_CHANGE_ME_PLEASE_123", "default"),
        ("gln_your-admin-key-goes-here", "default"),
        ("gln_placeholder_placeholder", "default"),
    ],
)
def test_admin_keys_that_are_refused(value: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        keys.check_admin_key(value)
