"""What experiments and judges are, and what runs them: generate, judge, estimate, report. Never imports `pipelines`."""

from harness.moved import install

install()
