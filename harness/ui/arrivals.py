"""People who come by a crowd study's open link, from Prolific, MTurk or anywhere: known again, enrolled, sent on."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from harness.errors import UnavailableError
from harness.studies.crowd import enrol
from harness.studies.links import COOKIE, JOIN, TAG, OpenLink, link_tag
from harness.studies.people import SITES
from harness.studies.refusals import CrowdFullError, StudyClosedError, UnknownLinkError
from harness.studies.serving import spoken_in
from harness.ui.frame import store
from harness.ui.gate import Arrival

_WHO = ("PROLIFIC_PID", "workerId")  # of what sites send: the first that is there says who came
WHY = "why"  # in the address: why somebody cannot enter
FULL, OVER, LATER = "full", "over", "later"


def arrive(query: Mapping[str, str], cookies: Mapping[str, str]) -> Arrival:
    """Enrol one who came, or find them again; whoever cannot enter is told why."""
    link = OpenLink(token=query[JOIN])
    remembered = f"{COOKIE}person-{link_tag(link.token)}"
    sent = {name: query[name] for name in SITES if query.get(name)}
    who = next((f"{name}:{sent[name]}" for name in _WHO if name in sent), None)
    person = who or cookies.get(remembered) or f"browser:{secrets.token_urlsafe(16)}"
    try:
        token = enrol(store(), link, person, sent)
    except UnknownLinkError:
        return Arrival(query={}, cookies={})
    except (CrowdFullError, StudyClosedError) as err:
        spoken = query.get("lang") or spoken_in(store(), link.token)
        return Arrival(query={WHY: FULL if isinstance(err, CrowdFullError) else OVER, "lang": spoken}, cookies={})
    except UnavailableError:
        return Arrival(query={WHY: LATER}, cookies={})
    kept = {f"{COOKIE}{link_tag(token)}": token} | ({} if who else {remembered: person})
    language = {"lang": query["lang"]} if query.get("lang") else {}
    return Arrival(query={TAG: link_tag(token), **language}, cookies=kept)
