"""Running a candidate on a case, and judging it by what torch does."""
