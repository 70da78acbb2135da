"""A trained model learns a new domain from text.

``domain`` reads the text and finds what is wrong with it, ``workspace`` keeps what a run has done,
``train`` trains on, ``compare`` answers held-out rows before and after, and ``adapt`` is all of it.
"""
