"""The library behind the course, one room per question; imports point downwards.

course        runs the notebooks, makes the front page
judging       who competes on what, and how it came out
online        what happens after the list is shown
customers     who they are and what they do next
text          BERT: encode, pre-train, fine-tune
recommenders  one file per model; `shared` holds what a model is made of
networks      networks by hand
metrics       numbers about lists and probabilities, and how sure they are
scoring       exact top-k on CPU or GPU
data          what we learn from
"""
