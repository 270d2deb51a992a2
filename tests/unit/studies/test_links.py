"""Tokens and the owner's secret: random, hashed, compared in constant time, and nowhere to be read."""

from __future__ import annotations

import logging

import pytest
from panels import a_study
from sqlalchemy import Engine, select

from harness.errors import ConfigError, InputError
from harness.studies.links import hash_token, is_owner, mint
from harness.studies.sql_schema import raters
from harness.studies.studies import add_rehearsal, find_study, list_studies, renew_link


def test_a_token_has_128_bits_and_is_stored_as_its_hash(engine: Engine) -> None:
    created = a_study(engine)
    tokens = [link.token for link in created.links]
    assert len(set(tokens)) == 3
    assert all(len(token) == 22 for token in tokens)  # 16 bytes in base64
    with engine.begin() as connection:
        rows = connection.execute(select(raters)).all()
    assert {row.token_hash for row in rows} == {hash_token(token) for token in tokens}
    assert not any(token in repr(row) for row in rows for token in tokens)


def test_a_link_does_not_print_its_token(caplog: pytest.LogCaptureFixture) -> None:
    link = mint("anna", is_rehearsal=False)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("made %s", link)
    assert link.token not in caplog.text + repr(link) + str(link)
    assert link.url("https://host/rate/") == f"https://host/rate/?rater={link.token}"


def test_the_owner_is_known_by_the_secret_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENTEST_OWNER_SECRET", "a secret of some length")
    assert is_owner("a secret of some length")
    assert not is_owner("a secret of some lengtH")
    assert not is_owner("")


@pytest.mark.parametrize("secret", ["", "short"])
def test_no_secret_and_a_weak_one_open_nothing(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCREENTEST_OWNER_SECRET", secret)
    with pytest.raises(ConfigError, match="SCREENTEST_OWNER_SECRET") as caught:
        is_owner(secret)
    assert "short" not in str(caught.value)


def test_studies_are_found_by_name_and_named_once(engine: Engine) -> None:
    created = a_study(engine)
    assert find_study(engine, "which-is-better") == created.study
    with pytest.raises(InputError, match="which-is-better"):
        find_study(engine, "nothing")
    with pytest.raises(InputError, match="a study already"):
        a_study(engine)
    with pytest.raises(InputError, match="rater-1"):
        renew_link(engine, created.study, "nobody")
    with pytest.raises(InputError, match="taken"):
        add_rehearsal(engine, created.study, "rater-1")
    assert [s.name for s in list_studies(engine)] == ["which-is-better"]
