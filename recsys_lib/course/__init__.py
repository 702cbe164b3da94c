"""The course itself: running, refreshing and showing the notebooks. Nothing in the library imports it."""
