"""The pool: a pure state machine (`core`) and thin shells around it.

Importing this package imports nothing else, so that the core can be used and tested alone.
"""
