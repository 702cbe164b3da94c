"""The library behind the course: data, scoring, metrics, and the runner of the notebooks."""
