"""The course itself: running, refreshing and showing the notebooks. Nothing in the library imports it."""

MEND = "The environment lacks a package of the course. Build it anew: make fresh"
