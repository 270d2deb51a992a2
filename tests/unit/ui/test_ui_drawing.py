"""What a rater reads is the text as it was, and nothing in it can do anything."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from harness.studies.serving import RatingTask, TaskProgress
from harness.types import Message
from harness.ui.drawing import draw_replies, draw_scene, draw_top, inert, spoken, time_left


def a_task(*replies: str, **changes: object) -> RatingTask:
    fields: dict[str, object] = {
        "slot": "slot-1",
        "question": "Which line belongs in the scene?",
        "scene": (),
        "replies": replies,
        "criteria": (),
        "is_practice": False,
        "is_rehearsal": False,
        "can_undo": False,
        "progress": TaskProgress(n_done=3, n_total=12, seconds_left=None),
        **changes,
    }
    return RatingTask(**fields)  # type: ignore[arg-type]


class Seen(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def tags(page: str) -> list[str]:
    return Seen(page).tags


@given(st.text(), st.text(), st.text())
def test_no_text_adds_a_tag(reply: str, speaker: str, line: str) -> None:
    plain = tags(draw_scene([Message(role="user", content="b", name="A")]) + draw_replies(a_task("c", "d")))
    scene = draw_scene([Message(role="user", content=line, name=speaker or "A")])
    assert tags(scene + draw_replies(a_task(reply, "d"))) == plain


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_text_is_shown_as_it_was(text: str) -> None:
    assert Seen(inert(text)).text == text


def test_marks_that_turn_text_are_left_out_and_letters_stay() -> None:
    assert inert("a\u202eb\u2066c\u2069d") == "abcd"
    assert inert("שלום") == "שלום"
    assert inert("a\x00\x1bb\nc") == "ab\nc"


def test_the_place_is_told_to_eye_and_ear() -> None:
    task = a_task("one", "two", is_practice=True, is_rehearsal=True)
    top = draw_top(task)
    assert "Item 4 of 12" in top
    assert 'aria-valuenow="3"' in top
    assert "does not count" in top
    assert "enters no result" in top
    assert spoken(task, {}) == "Practice item 4 of 12."


def test_time_left_is_told_in_minutes_and_never_before_it_is_known() -> None:
    def left(seconds: float | None) -> str:
        return time_left(TaskProgress(n_done=1, n_total=2, seconds_left=seconds))

    assert left(None) == ""
    assert left(40) == "less than a minute left"
    assert left(200) == "about 3 min left"
