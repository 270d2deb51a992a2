"""The nouns of Screentest: frozen dataclasses, standard library only.

Reading this package gives the whole vocabulary. Everything else in the project makes, stores, compares or draws one of
these. Words are used strictly: a *generation* is a model's, a *reference* is a human's; a *score* is a judge's, a
*rating* is a human's; a *variant* is what is compared, an *arm* is a cell of an ablation; a *cluster* is the unit that
is resampled (a film).
"""

from harness.types.dialogue import *
from harness.types.findings import *
from harness.types.judging import *
from harness.types.models import *
from harness.types.qualification import *
