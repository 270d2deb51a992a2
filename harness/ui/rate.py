"""The rating page: a rater's link opens it, and it is the only page of their session."""

from __future__ import annotations

import streamlit as st

from harness.errors import UnavailableError
from harness.studies.links import COOKIE, QUERY, TAG
from harness.studies.refusals import RevokedLinkError, StudyClosedError, UnknownLinkError
from harness.studies.serving import Finished, RatingTask, Welcome, spoken_in, welcome
from harness.ui.arrivals import FULL, LATER, OVER, WHY
from harness.ui.ballot import Ballot
from harness.ui.consent import choose_language, show_consent, show_instructions
from harness.ui.drawing import draw_notice, draw_replies, draw_scene, draw_top, inert, spoken
from harness.ui.frame import accompany, dress, letter, store
from harness.ui.guide import draw_guide
from harness.ui.translations import speak, spoken_language, t
from harness.ui.vote_buttons import ask_marks, ask_ranking, ask_reason, ask_verdict, press

THANKS = (
    "What it was for: computer programs wrote most of these replies. Together with what others said, your ratings show "
    "which of them people prefer, and whether a program that judges replies may be believed."
)
REASONS = {
    FULL: ("This study has all the people it asked for", "Thank you for coming. Nothing else is to be done."),
    OVER: ("This study is closed", "It takes no more ratings. Thank you for coming."),
    LATER: ("The ratings cannot be reached", "Please open the link again in a minute."),
}
NO_LINK = (
    "This page opens with your own link",
    "The address in your browser holds no link of a study, or only a part of one. Open the link that you were sent, "
    "whole. If it is whole, it was replaced by a newer one: ask whoever sent it.",
)
CODE = "Your completion code"
SAFE = "Every rating you gave before is kept."


def show() -> None:
    """The page that a link opens, or why it leads nowhere."""
    dress()
    _page()


@st.fragment
def _page() -> None:
    """All that changes, so that a press runs this and nothing around it."""
    speak(st.query_params.get("lang", ""), str(st.context.locale or "").partition("-")[0])
    with st.container(key="page"):
        token = _token()
        try:
            _open(token)
        except UnknownLinkError:
            _turn_away(*REASONS.get(st.query_params.get(WHY, ""), NO_LINK))
        except RevokedLinkError:
            _turn_away("This link was withdrawn", "It takes no more ratings; whoever sent it can say why.", SAFE)
        except StudyClosedError:
            _turn_away("This study is closed", "It takes no more ratings. Thank you.", SAFE)
        except UnavailableError:
            _turn_away("The ratings cannot be reached", "Please open the link again in a minute.", SAFE)


def _token() -> str:
    """The rater's key: in the cookie that the address names, or in the address where no gate is before us."""
    tag = st.query_params.get(TAG, "")
    kept = st.context.cookies.get(f"{COOKIE}{tag}", "") if tag else ""
    return st.query_params.get(QUERY, "") or kept


def _turn_away(title: str, *said: str) -> None:
    letter(t(title), " ".join(map(t, said)), item=title)
    accompany(item=title, says=t(title))


def _open(token: str) -> None:
    engine = store()
    if st.session_state.get("token") != token:
        speak(st.query_params.get("lang", ""), spoken_in(engine, token), spoken_language())
        st.session_state.welcome = welcome(engine, token)
        st.session_state.token = token
        st.session_state.ballot = Ballot(engine=engine, token=token)
        st.session_state.in_guide = not st.session_state.welcome.has_begun
    greeting: Welcome = st.session_state.welcome
    ballot: Ballot = st.session_state.ballot
    chosen = greeting.crowd.language if greeting.crowd and greeting.crowd.design.instructions else ""
    speak(chosen, st.query_params.get("lang", ""), greeting.language)
    if greeting.is_closed:
        raise StudyClosedError(greeting.study)
    if greeting.crowd is not None and not greeting.crowd.has_agreed:
        show_consent(token, greeting.crowd)
        return
    if st.session_state.in_guide:
        _show_guide(greeting)
        return
    task = ballot.current()
    if isinstance(task, Finished):
        _show_end(task, ballot)
    else:
        _show_task(task, ballot)


def _set_guide(is_open: bool) -> None:
    st.session_state.in_guide = is_open


def _show_guide(greeting: Welcome) -> None:
    letter(t("How to rate"), item="guide")
    own = greeting.crowd is not None and show_instructions(greeting.crowd, choose_language(greeting.crowd))
    st.html(draw_guide(greeting, is_own=own))
    label = "Go on" if greeting.has_begun or st.session_state.ballot.task else "Begin"
    press(t(label), "begin", "Enter", _set_guide, False, type="primary")
    accompany(item="guide", says=t("How to rate"))


def _show_task(task: RatingTask, ballot: Ballot) -> None:
    st.html(draw_top(task))
    if ballot.notice:
        st.html(draw_notice(t(ballot.notice)))
    st.html(draw_scene(task.scene) + draw_replies(task))
    if ballot.is_skipping:
        ask_reason(ballot, task)
    elif task.criteria:
        ask_marks(ballot, task)
    elif task.ranks:
        ask_ranking(ballot, task)
    else:
        ask_verdict(ballot, task)
    with st.container(key="tools", horizontal=True):
        _undo_button(ballot, task.slot, is_possible=task.can_undo or ballot.n_given > 0)
        if not ballot.is_skipping:
            opens = {"kwargs": {"is_skipping": True}, "type": "tertiary"}
            press(t("Skip"), f"skip-{task.slot}", "s", ballot.ask_reason, ballot.nonce, **opens)
        press(t("How to rate"), "help", "h", _set_guide, True, type="tertiary")
    says = f"{t(ballot.notice)} {spoken(task, ballot.marks)}".strip()
    accompany(item=task.slot, says=says, showing=ballot.nonce, heard=ballot.n_heard, given=ballot.n_given)


def _undo_button(ballot: Ballot, item: str, *, is_possible: bool) -> None:
    press(t("Undo"), f"undo-{item}", "u", ballot.undo, ballot.nonce, type="tertiary", disabled=not is_possible)


def _show_end(end: Finished, ballot: Ballot) -> None:
    title = t("Thank you for trying." if end.is_screened_out else "That was the last one. Thank you.")
    letter(title, *_last_words(end), item="end")
    if end.code:
        st.html(f'<p class="read claim">{t(CODE)}: <b>{inert(end.code)}</b></p>')
    if end.back:
        st.link_button(t("Finish"), end.back, type="primary")
    with st.container(key="tools", horizontal=True):
        _undo_button(ballot, "end", is_possible=end.can_undo)
    says = f"{t(ballot.notice)} {title}".strip()
    accompany(item="end", says=says, showing=ballot.nonce, heard=ballot.n_heard)


def _last_words(end: Finished) -> tuple[str, ...]:
    if end.is_screened_out:
        return (t("The practice items went another way than this study needs, so it ends here for you."),)
    rehearsal = t("They were given in rehearsal and enter no result.") if end.is_rehearsal else ""
    stay = () if end.back else (t("You can close this page. Your link keeps working until the study is closed."),)
    done = t("All {n} of your items are rated and saved.", n=end.n_done)
    return (f"{done} {rehearsal}".strip(), end.thanks or t(THANKS), *stay)
