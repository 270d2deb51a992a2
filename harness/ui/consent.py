"""What a stranger reads and agrees to before the first item: consent, instructions in their language, questions."""

from __future__ import annotations

import streamlit as st

from harness.studies.crowd import MAX_WORDS, agree
from harness.studies.serving import CrowdWelcome
from harness.ui.frame import accompany, letter, store
from harness.ui.translations import speak, spoken_language, t

NOT_SAID = "I would rather not say"
TITLE = "Before you begin"
LENGTH = "{n} items, about {minutes} minutes."
PAY = "Pay is {pay}."


def show_consent(token: str, crowd: CrowdWelcome) -> None:
    """Consent, questions, and the button that begins; nothing of the study is shown before."""
    language = choose_language(crowd)
    speak(language, spoken_language())
    letter(t(TITLE), f"{t(LENGTH, n=crowd.design.items, minutes=crowd.minutes)}{_pay(crowd)}", item="consent")
    st.markdown(crowd.design.consent)
    answers = {q.ask: _answer(q.ask, q.options) for q in crowd.design.questions}
    has_agreed = st.checkbox(t("I have read this and agree to take part"), key="agree")
    st.button(
        t("Begin"), key="consented", type="primary", disabled=not has_agreed, on_click=_agree,
        args=(token, language, {ask: said for ask, said in answers.items() if said}),
    )  # fmt: skip
    accompany(item="consent", says=t(TITLE))


def show_instructions(crowd: CrowdWelcome, language: str) -> bool:
    """The study's own instructions; False where it has none."""
    text = crowd.design.instructions.get(language)
    if not text:
        return False
    st.markdown(text)
    return True


def choose_language(crowd: CrowdWelcome) -> str:
    """The language of the instructions: as chosen before, as the address says, or the first."""
    offered = list(crowd.design.instructions)
    asked = crowd.language or st.query_params.get("lang", "") or spoken_language()
    if len(offered) < 2:
        return offered[0] if offered else spoken_language()
    if crowd.has_agreed and asked in offered:
        return asked
    first = offered.index(asked) if asked in offered else 0
    return str(st.radio(t("Language"), offered, index=first, key="language", horizontal=True))


def _answer(ask: str, options: tuple[str, ...]) -> str:
    if not options:
        return st.text_input(ask, key=f"question-{ask}", max_chars=MAX_WORDS).strip()
    said = st.radio(ask, (NOT_SAID, *options), format_func=t, key=f"question-{ask}", horizontal=True)
    return "" if said == NOT_SAID else str(said)


def _agree(token: str, language: str, answers: dict[str, str]) -> None:
    agree(store(), token, language=language, answers=answers)
    st.session_state.pop("token", None)  # read the welcome again


def _pay(crowd: CrowdWelcome) -> str:
    return f" {t(PAY, pay=f'{crowd.design.currency} {crowd.pay:.2f}'.strip())}" if crowd.pay else ""
