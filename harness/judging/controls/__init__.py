"""Planted controls: true replies beside faults, to find out whether a judge can tell them apart."""

from harness.judging.controls.planting import (
    FAMILIES,
    make_control_set,
    read_controls,
    reviewed_contradictions,
)

__all__ = ["FAMILIES", "make_control_set", "read_controls", "reviewed_contradictions"]
